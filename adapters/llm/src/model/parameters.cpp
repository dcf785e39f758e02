// SPDX-License-Identifier: Apache-2.0
#include "slots.hpp"

#include <functional>  // multiplies
#include <numeric>     // accumulate

namespace kedge::llm {

parameter layer_parameter(transformer_config const& c, std::int64_t layer, layer_slot slot) {
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, H = c.hidden, I = c.intermediate;
  auto const named = [&](bool present, char const* name, std::vector<std::int64_t> shape) -> parameter {
    if (!present) return {};
    return {"model.layers." + std::to_string(layer) + "." + name, std::move(shape)};
  };
  switch (slot) {
    case input_norm: return named(true, "input_layernorm.weight", {H});
    case qkv_proj: return named(c.fused, "self_attn.qkv_proj.weight", {q + 2 * kv, H});
    case q_proj: return named(!c.fused, "self_attn.q_proj.weight", {q, H});
    case q_bias: return named(c.qkv_bias, "self_attn.q_proj.bias", {q});
    case k_proj: return named(!c.fused, "self_attn.k_proj.weight", {kv, H});
    case k_bias: return named(c.qkv_bias, "self_attn.k_proj.bias", {kv});
    case v_proj: return named(!c.fused, "self_attn.v_proj.weight", {kv, H});
    case v_bias: return named(c.qkv_bias, "self_attn.v_proj.bias", {kv});
    case q_norm: return named(c.qk_norms, "self_attn.q_norm.weight", {c.head_dim});
    case k_norm: return named(c.qk_norms, "self_attn.k_norm.weight", {c.head_dim});
    case o_proj: return named(true, "self_attn.o_proj.weight", {H, q});
    case o_bias: return named(c.o_bias, "self_attn.o_proj.bias", {H});
    case attention_output_norm: return named(c.output_norms, "post_attention_layernorm.weight", {H});
    case post_norm: return named(true, c.output_norms ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight", {H});
    case gate_up_proj: return named(c.fused, "mlp.gate_up_proj.weight", {2 * I, H});
    case gate_proj: return named(!c.fused, "mlp.gate_proj.weight", {I, H});
    case gate_bias: return named(c.mlp_bias, "mlp.gate_proj.bias", {I});
    case up_proj: return named(!c.fused, "mlp.up_proj.weight", {I, H});
    case up_bias: return named(c.mlp_bias, "mlp.up_proj.bias", {I});
    case down_proj: return named(true, "mlp.down_proj.weight", {H, I});
    case down_bias: return named(c.mlp_bias, "mlp.down_proj.bias", {H});
    case mlp_output_norm: return named(c.output_norms, "post_feedforward_layernorm.weight", {H});
    case layer_slots: break;
  }
  return {};
}

slots::slots(transformer_config const& c) : tied_(c.tied_embeddings) {
  for (std::size_t slot = 0; slot < layer_slots; ++slot)
    offset_[slot] = layer_parameter(c, 0, static_cast<layer_slot>(slot)).name.empty() ? none : layer_size_++;
  final_norm_ = 1 + static_cast<std::size_t>(c.layers) * layer_size_;
  scalar_head_ = final_norm_ + (c.lm_head && !c.tied_embeddings ? 2 : 1);
}

std::vector<parameter> parameters_of(transformer_config const& c) {
  std::vector<parameter> all{{"model.embed_tokens.weight", {c.vocabulary, c.hidden}}};
  for (std::int64_t i = 0; i < c.layers; ++i)
    for (std::size_t slot = 0; slot < layer_slots; ++slot)
      if (parameter p = layer_parameter(c, i, static_cast<layer_slot>(slot)); !p.name.empty()) all.push_back(std::move(p));
  all.push_back({"model.norm.weight", {c.hidden}});
  if (c.lm_head && !c.tied_embeddings) all.push_back({"lm_head.weight", {c.vocabulary, c.hidden}});
  if (c.scalar_head) all.push_back({"score.weight", {1, c.hidden}});
  return all;
}

std::int64_t parameter_count(transformer_config const& config) {
  auto const count = [&](std::int64_t layers) {
    transformer_config c = config;
    c.layers = layers;
    std::int64_t sum = 0;
    for (parameter const& p : parameters_of(c)) sum += std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>());
    return sum;
  };
  std::int64_t const outer = count(0);  // all layers are alike
  return outer + config.layers * (count(1) - outer);
}

}  // namespace kedge::llm
