// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/train/loss_choice.hpp>
#include <kedge/llm/train/preference.hpp>

#include "../pair_input.hpp"
#include "../run_checkpoint.hpp"
#include "../trainer.hpp"

namespace kedge::llm {

/// Held-out pairs, measured against one reference all through a run: what they bring, or the model of the first measurement.
class held_out_pairs {
 public:
  explicit held_out_pairs(std::vector<preference_pair> pairs) : pairs_(std::move(pairs)) {}

  [[nodiscard]] std::vector<preference_pair> const& pairs() const { return pairs_; }
  /// The figures of a policy with these log-probabilities, and figures of all tokens, after `round` rounds, kept and told.
  evaluation const& measure(pair_log_probs const& logp, token_figures const& tokens, loss_choice const& loss, std::size_t round, training_log& log);

  void save(checkpoint_writer& to) const;
  void restore(checkpoint_reader const& from);

  std::vector<evaluation> evaluations;

 private:
  std::vector<preference_pair> pairs_;
  pair_log_probs reference_;  // empty before the first measurement
};

}  // namespace kedge::llm
