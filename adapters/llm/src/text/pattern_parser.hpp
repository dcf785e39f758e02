// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <string_view>   // string_view
#include <vector>        // vector

#include "code_point_set.hpp"

namespace kedge::llm::text {

/// What a regular expression means, as a tree.
struct pattern_node {
  enum class kind { empty, set, sequence, alternatives, repeat, look, boundary };
  enum class repetition { greedy, lazy, possessive };
  enum class position { text_start, text_end, line_start, line_end, text_end_or_newline, word, not_word };
  static constexpr std::size_t unlimited = ~std::size_t{0};

  kind what = kind::empty;
  std::vector<pattern_node> children;
  code_point_set set;                       // set
  std::size_t least = 0, most = unlimited;  // repeat
  repetition mode = repetition::greedy;     // repeat
  bool ahead = true, negative = false;      // look
  position where = position::text_start;    // boundary
};

/// Parses a regular expression in the dialect of the reference tokenizer (Oniguruma's Ruby syntax, UTF-8): literals, escapes,
/// classes with \p{…}, \s \d \w, nesting and &&, groups without capturing meaning, (?i:…), quantifiers greedy, lazy and
/// possessive, look-ahead and look-behind, ^ $ \A \z \Z \b \B.
/// throws  kedge::llm::error that names the construct and its place, for anything else
pattern_node parse_pattern(std::string_view expression);

}  // namespace kedge::llm::text
