// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "gpu_kernels.hpp"

namespace kedge::llm {

/// What the blocks of a paged attention do.
struct attention_plan {
  std::vector<gpu_attention_part> parts;
  std::vector<gpu_attention_join> joins;
  std::int64_t partial_count = 0, most_queries = 0;
};

/// Cuts new queries and the keys up to them into parts; how one is cut depends on its position alone.
/// sequence, positions: of each query; those of a sequence stand in a row, positions ascending by one
template <class Integer>
[[nodiscard]] attention_plan plan_attention(std::span<Integer const> sequence, std::span<Integer const> positions, std::int64_t group_heads) {
  attention_plan plan;
  auto const all = static_cast<std::int64_t>(positions.size());
  for (std::int64_t first = 0, n = 0; first < all; first += n) {
    auto const of = [&](std::span<Integer const> x, std::int64_t query) { return std::int64_t{x[static_cast<std::size_t>(query)]}; };
    auto const parts_of = [&](std::int64_t query) { return of(positions, query) / attention_part_keys + 1; };
    for (n = 1; first + n < all && n < attention_part_queries(group_heads) && of(sequence, first + n) == of(sequence, first);) ++n;
    std::int64_t const parts = parts_of(first + n - 1);
    plan.most_queries = std::max(plan.most_queries, n);
    for (std::int64_t i = 0; i < parts; ++i)
      plan.parts.push_back({of(sequence, first), first, n, i * attention_part_keys, parts == 1 ? -1 : plan.partial_count + i, parts});
    if (parts == 1) continue;
    for (std::int64_t q = first; q < first + n; ++q, plan.partial_count += parts) plan.joins.push_back({q, plan.partial_count, parts_of(q)});
  }
  return plan;
}

}  // namespace kedge::llm
