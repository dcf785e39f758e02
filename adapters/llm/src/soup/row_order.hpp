// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>  // uint32_t
#include <span>     // span
#include <vector>   // vector

namespace kedge::llm {

/// Where each row of a tensor comes from: the mean of rows of other tensors; no row is zero.
struct row_order {
  struct part {
    std::uint32_t source = 0;
    std::size_t row = 0;
  };
  struct row {
    std::uint32_t first = 0, count = 0;
  };

  std::vector<row> rows;
  std::vector<part> parts;

  void add(std::span<part const> from) {
    rows.push_back({static_cast<std::uint32_t>(parts.size()), static_cast<std::uint32_t>(from.size())});
    parts.insert(parts.end(), from.begin(), from.end());
  }
  [[nodiscard]] std::span<part const> parts_of(std::size_t r) const {
    return std::span{parts}.subspan(rows[r].first, rows[r].count);
  }
};

}  // namespace kedge::llm
