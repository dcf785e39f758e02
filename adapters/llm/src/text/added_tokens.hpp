// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>         // array
#include <cstdint>       // int32_t, uint32_t
#include <string>        // string
#include <string_view>   // string_view
#include <unordered_map> // unordered_map
#include <unordered_set> // unordered_set
#include <vector>        // vector

#include "flat_tables.hpp"
#include "model.hpp"
#include "normalizer.hpp"

namespace kedge::llm::text {

struct added_token {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false, strip_left = false, strip_right = false, normalized = true, special = false;
};

/// The tokens beside the model's vocabulary, found in the text before the model sees it.
class added_tokens {
 public:
  /// A section of a text: an added token, or (token < 0) text for the model.
  struct section {
    std::size_t begin, end;
    std::int32_t token;
  };

  /// Ids are those of the model where it knows the content, else the next free ones, as in the reference.
  added_tokens(json const& definition, model const& m, normalizer const* normal);

  /// Cuts a text at the tokens that are looked up before (`normalized` false) or after (true) normalisation.
  /// With `splits_special` the special ones among them are text.
  void cut(std::string_view text, bool normalized, bool splits_special, std::vector<section>& out) const;

  [[nodiscard]] added_token const* find(std::int32_t id) const;
  [[nodiscard]] added_token const* find(std::string_view content) const;
  /// What a decoder sees for an added token: its content, normalised if it is matched so.
  [[nodiscard]] std::string const& decoded_form(added_token const& token) const;
  [[nodiscard]] bool is_special(std::string const& content) const { return special_.count(content) != 0; }
  [[nodiscard]] std::vector<added_token> const& all() const { return tokens_; }

 private:
  /// Strings as a trie; `longest` is a leftmost-longest matcher's step.
  class matcher {
   public:
    void insert(std::string_view word, std::uint32_t token);
    /// Index of the longest word at `position`, and its length; -1 if none.
    [[nodiscard]] std::int64_t longest(std::string_view text, std::size_t position, std::size_t& length) const;
    [[nodiscard]] bool can_start(char byte) const { return starts_[static_cast<unsigned char>(byte)]; }
    [[nodiscard]] bool empty() const { return ends_.size() == 1; }

   private:
    number_table edges_;                    // node * 256 + byte -> node
    std::vector<std::int64_t> ends_{-1};    // node -> token index
    std::array<bool, 256> starts_{};
  };

  void add(added_token token, model const& m, normalizer const* normal);

  std::vector<added_token> tokens_;
  std::vector<std::string> normal_forms_;
  std::unordered_map<std::int32_t, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::unordered_set<std::string> special_;
  matcher before_, after_;
};

}  // namespace kedge::llm::text
