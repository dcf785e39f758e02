// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <kedge/llm/data/ragged.hpp>

#include "kernels.hpp"

namespace kedge::llm {

/// Causal attention of the queries of a run, for the heads that share a key-value head: one thread's share.
/// All tensors are fp32 and contiguous.   q: [T, heads, d], k and v: [T, kv_heads, d], log_sums: [heads, T]
struct prompt_attention {
  kernel_table const& kernels;
  float const *q, *k, *v;
  std::size_t tokens, heads, kv_heads, d;
  float scale;             ///< of scores
  float cap = 0;           ///< scores become cap · tanh(scale · score / cap); 0: no cap
  std::size_t window = 0;  ///< keys that a query sees, its own included; 0: all before it

  /// out: [T, heads, d]
  void forward(attention_run const& run, std::size_t kv_head, float* out, float* log_sums) const;

  /// Gradients with respect to q, k and v of the same shapes, given that of out. gk and gv have to be zero before. What belongs to the
  /// keys and values of prefix and prompt, which other runs add to as well, goes to gk_shared and gv_shared, [prefix + prompt, kv_heads, d].
  void backward(attention_run const& run, std::size_t kv_head, float const* g, float const* out, float const* log_sums,
                float* gq, float* gk, float* gv, float* gk_shared, float* gv_shared) const;
};

}  // namespace kedge::llm
