// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// Numbers `begin` to `begin + size` of tensor `tensor` of a pack, as they lie in memory.
struct tensor_part {
  std::size_t tensor;
  std::int64_t begin, size;

  bool operator==(tensor_part const&) const = default;
};

/// Parts of a pack's tensors, at most one of each.
using shard = std::vector<tensor_part>;

/// All of a pack.
[[nodiscard]] shard whole(pack const& theta);

/// Numbers in all tensors of a pack.
[[nodiscard]] std::int64_t elements_of(pack const& theta);

/// The parts as views. A tensor that is there whole keeps its shape; of another, a matrix gives one row, so that it still is a matrix to an
/// optimizer.   theta: contiguous tensors, where they aren't whole
[[nodiscard]] pack parts_of(pack const& theta, shard const& parts);

}  // namespace kedge::llm
