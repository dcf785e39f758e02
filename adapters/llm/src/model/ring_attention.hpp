// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "context_parallel.hpp"
#include "ops.hpp"

namespace kedge::llm::ops {

/// Where the tokens of a batch lie that a ring of processes shares.
struct ring_segments {
  context_ring& ring;
  context_division division;
};

/// Attention of a process's own queries over the keys of all processes, which go around, a block of each at a time (Liu et al. 2023, ring attention).
/// Scores exist for a tile of queries and keys alone; what tiles give is joined by running maxima, so that the result is that of one process up to
/// rounding. In tensor operations, fp32 or fp64.   q: [T, heads, d], k and v: [T, kv_heads, d] of the own tokens, log_sums: [heads, T]
[[nodiscard]] at::Tensor ring_attention(ring_segments const& of, attention_settings const& settings, at::Tensor const& q,
                                        at::Tensor const& k, at::Tensor const& v, at::Tensor& log_sums);

/// Gradients of the own q, k and v. Keys and values go around once more, and the gradients of each with them, until they are home.
[[nodiscard]] shared_prompt_attention::gradients ring_attention_backward(ring_segments const& of,
                                                                         attention_settings const& settings,
                                                                         at::Tensor const& g, at::Tensor const& q,
                                                                         at::Tensor const& k, at::Tensor const& v,
                                                                         at::Tensor const& output, at::Tensor const& log_sums);

}  // namespace kedge::llm::ops
