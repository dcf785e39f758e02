// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include <kedge/llm/model/config.hpp>

namespace kedge::llm {

/// Which experts tokens go to in a step of generation: `chosen` rows a token, in the order of experts, of an expert in the order of tokens.
class expert_rows {
 public:
  explicit expert_rows(expert_settings const& settings) : settings_(settings) {}

  void resize(std::size_t tokens);
  /// Takes a token's router logits: the likeliest experts, the first of equal ones, and their weights. Logits are used up.
  void choose(std::size_t token, float* logits);
  /// Once all tokens have chosen.
  void sort();

  [[nodiscard]] std::size_t each() const { return static_cast<std::size_t>(settings_.chosen); }
  [[nodiscard]] std::size_t count() const { return token_.size(); }
  [[nodiscard]] std::size_t token(std::size_t row) const { return token_[row]; }
  /// Rows of an expert are begin(e) to begin(e + 1) − 1.
  [[nodiscard]] std::size_t begin(std::size_t expert) const { return begin_[expert]; }

  struct part {
    std::size_t row;
    float weight;
  };
  /// What a token is the sum of, j = 0 … each() − 1, experts ascending: the order does not depend on other tokens.
  [[nodiscard]] part part_of(std::size_t token, std::size_t j) const { return parts_[token * each() + j]; }

 private:
  struct choice {
    std::size_t expert;
    float weight;
  };
  expert_settings const& settings_;
  std::vector<choice> choices_;  // [tokens, chosen], experts ascending
  std::vector<part> parts_;      // the same
  std::vector<std::size_t> token_, begin_;
};

}  // namespace kedge::llm
