// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <cstdint>       // uint32_t
#include <optional>      // optional
#include <string_view>   // string_view
#include <vector>        // vector

#include "json_fields.hpp"
#include "pattern.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {

/// A part of the text being split.
struct piece {
  std::uint32_t begin, end;
  bool at_origin;  ///< starts where the user's text starts
};

/// Consecutive stretches that cover a text, each a match or what lies between matches.
struct stretch {
  std::uint32_t begin, end;
  bool match;
};

enum class split_behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

split_behavior split_behavior_in(json const& definition, std::string_view where);

struct split_workspace {
  pattern::scratch scratch;
  std::vector<stretch> stretches;
};

/// The stretches of `text` by a regular expression. An empty match after a match is passed over, as in the reference.
void find_stretches(pattern const& expression, std::string_view text, split_workspace& work);

/// The stretches of `text` by a predicate on code points; every matching character stands alone.
template <class Predicate>
void find_stretches_if(std::string_view text, Predicate matches, std::vector<stretch>& out) {
  out.clear();
  std::uint32_t last = 0;
  auto const size = static_cast<std::uint32_t>(text.size());
  for (std::uint32_t i = 0; i < size;) {
    auto const [value, length] = decode(text.data() + i);
    if (matches(value)) {
      if (last < i) out.push_back({last, i, false});
      out.push_back({i, i + length, true});
      last = i + length;
    }
    i += length;
  }
  if (last < size) out.push_back({last, size, false});
}

/// Turns stretches of the text of `whole` into pieces; empty ones vanish.
void cut(std::vector<stretch> const& stretches, split_behavior behavior, piece const& whole, std::vector<piece>& out);

/// A "pattern" member: {"String": …} or {"Regex": …}.
pattern pattern_in(json const& definition, std::string_view where);

}  // namespace kedge::llm::text
