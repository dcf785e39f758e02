// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "process_group.hpp"

namespace kedge::llm {

/// Rows `begin` to `begin + size` of tensor `tensor` of a pack.
struct row_range {
  std::size_t tensor;
  std::int64_t begin, size;
};

/// A contiguous share of a pack's rows, one of `size` that are as even as rows allow: share `rank` holds what lies between rank/size
/// and (rank + 1)/size of all elements, in the pack's order. A function of shapes alone. One share of one is the pack.
using shard = std::vector<row_range>;
[[nodiscard]] shard shard_of(pack const& theta, int rank, int size);

/// The share of this process.
[[nodiscard]] inline shard owned_rows(process_group const& group, pack const& theta) { return shard_of(theta, group.rank(), group.size()); }

/// Numbers in all tensors of a pack.
[[nodiscard]] std::int64_t elements_of(pack const& theta);

/// The share's tensors, as views: matrices stay matrices.
[[nodiscard]] pack rows_of(pack const& theta, shard const& rows);

/// Puts the leading process's tensors in place of all others', and makes them contiguous. Nothing in a group of one.
/// returns  theta
pack& share_start(process_group const& group, pack& theta);

/// Puts every process's own share in place of the others' copies of it.
void exchange_shards(process_group const& group, pack& theta);

}  // namespace kedge::llm
