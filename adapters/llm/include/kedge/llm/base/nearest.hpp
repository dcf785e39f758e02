// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <ranges>
#include <string>
#include <string_view>
#include <vector>

namespace kedge::llm {

/// Letters to insert, delete or replace to make b of a.
[[nodiscard]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t const replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

/// The known name that is nearest to `name`, for messages about one that isn't known; the first of several.
template <std::ranges::input_range Names>
[[nodiscard]] std::string nearest(std::string_view name, Names const& known) {
  std::string best;
  std::size_t distance = static_cast<std::size_t>(-1);
  for (std::string_view const candidate : known) {
    std::size_t const d = edit_distance(name, candidate);
    if (d >= distance) continue;
    distance = d;
    best = candidate;
  }
  return best;
}

}  // namespace kedge::llm
