// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <kedge/llm/model/causal_lm.hpp>

#include "experts.hpp"
#include "linear_map.hpp"
#include "ops.hpp"

namespace kedge::llm {

/// The tensors of one layer, whatever way they are stored: fused projections appear as their rows.
struct layer_tensors {
  at::Tensor input_norm, post_norm, q_norm, k_norm, attention_output_norm, mlp_output_norm;
  at::Tensor input_norm_bias, post_norm_bias;
  at::Tensor sinks;  ///< [heads]
  linear_map q, k, v, o, gate, up, down;
  expert_tensors experts;  ///< in place of gate, up and down, where there is a router

  /// The same with products of q, k, v, o, gate, up and down in 8 bits.
  [[nodiscard]] layer_tensors in_fp8() const;
};

/// What a layer's forward pass keeps for the backward one.
struct layer_tape {
  at::Tensor input;  ///< the residual stream before the layer, until the tape is narrowed
  ops::rms_norm before_attention, before_mlp, of_queries, of_keys, after_attention, after_mlp;
  at::Tensor q, k, v, attended;
  ops::shared_prompt_attention attention;
  at::Tensor gate, up;
  expert_routes routes;

  /// What the backward pass reads, with what products gave in another type: a tape can be narrower than what is computed with.
  [[nodiscard]] layer_tape in(at::ScalarType type) const;
};

/// The residual stream that enters the first layer: [T, H], at least fp32.
at::Tensor embed(transformer_config const& config, linear_map const& embedding, at::Tensor const& tokens);

/// Attention of a layer, given what it projects: q [T, heads, d], k and v [T, kv_heads, d], whose rows may lie apart -> [T, heads, d] in q's type.
using attention_step = std::function<at::Tensor(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v)>;

/// stream: the residual stream before the layer, becomes that after it.   rotation: null where the layer does not turn
void layer_forward(transformer_config const& config, layer_tensors const& weights, ops::residual_stream& stream, ops::rotation const* rotation,
                   attention_step const& attend, layer_tape& kept);
/// The same of a stream in which nothing waits.   x: [T, H] -> [T, H]
inline at::Tensor layer_forward(transformer_config const& config, layer_tensors const& weights, at::Tensor const& x, ops::rotation const* rotation,
                                attention_step const& attend, layer_tape& kept) {
  ops::residual_stream stream{x, {}, 1};
  layer_forward(config, weights, stream, rotation, attend, kept);
  return stream.sum();
}

/// The gradient of the residual stream.
struct stream_gradient {
  at::Tensor wide;    ///< [T, H], in the stream's type
  at::Tensor narrow;  ///< the same in the type of products; undefined: not made yet
};

/// g: gradient with respect to the layer's output; becomes that of its input.
/// of_routing: [T, E], gradient with respect to the probabilities of the layer's router; undefined: zero
void layer_backward(transformer_config const& config, layer_tensors const& weights, ops::rotation const* rotation, layer_tape const& stored,
                    stream_gradient& g, at::Tensor const& of_routing, layer_tensors gradient);

}  // namespace kedge::llm
