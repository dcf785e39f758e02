// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <kedge/llm/model/causal_lm.hpp>

#include "decoder.hpp"
#include "number_lists.hpp"

namespace kedge::llm {

/// Keys and values of a layer, by pages: [pages, page_tokens, kv_heads, d].
struct layer_pages {
  at::Tensor keys, values;
};

/// Attention of a step's tokens to all that stands in their pages, made once for all layers: by a GPU's kernel where there is one for such pages, which
/// reads each key once and in the pages' own type; else by plain tensor operations, which bring sequences to one length, in at least fp32.
class page_attention {
 public:
  /// lists: have to be sent before the first use
  page_attention(transformer_config const& config, step_batch const& batch, at::TensorOptions const& pages, number_lists& lists);
  page_attention(page_attention const&) = delete;
  page_attention& operator=(page_attention const&) = delete;

  [[nodiscard]] at::Tensor const& positions() const { return positions_; }
  /// k, v: [T, kv_heads, d]
  void keep(layer_pages const& to, at::Tensor const& k, at::Tensor const& v) const;
  /// window: keys that a query sees; 0: all   sinks: [heads], at least fp32; undefined: none   q: [T, heads, d] -> the same
  [[nodiscard]] at::Tensor attend(at::Tensor const& q, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks);

 private:
  void plan_kernel(step_batch const& batch, number_lists& lists);
  void plan_operations(step_batch const& batch, number_lists& lists);
  [[nodiscard]] at::Tensor by_kernel(at::Tensor const& q, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks);
  [[nodiscard]] at::Tensor by_operations(at::Tensor const& q, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks) const;
  [[nodiscard]] at::Tensor hidden(std::int64_t window) const;
  [[nodiscard]] at::Tensor with_sinks(at::Tensor const& scores, at::Tensor const& sinks) const;

  transformer_config const& config_;
  bool has_kernel_;
  std::int64_t sequences_, most_pages_ = 0;
  at::Tensor positions_;  // [T]
  at::Tensor entries_;    // [T] where a token's keys go: page · page_tokens + offset
  at::Tensor pages_;      // [sequences · most_pages]

  at::Tensor parts_, joins_, partial_;  // as gpu_paged_attention has them
  std::int64_t part_count_ = 0, join_count_ = 0, partial_count_ = 0, most_queries_ = 0, keys_read_ = 0;

  at::ScalarType wide_;
  std::int64_t queries_ = 0;  // the most of any sequence
  at::Tensor slots_;          // [T] sequence · queries + rank within the sequence
  at::Tensor last_;           // [sequences · queries] the key that each query sees last
};

}  // namespace kedge::llm
