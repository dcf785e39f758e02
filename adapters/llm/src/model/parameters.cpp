// SPDX-License-Identifier: Apache-2.0
#include <algorithm>   // min
#include <functional>  // multiplies
#include <numeric>     // accumulate
#include <string_view>

#include "slots.hpp"

namespace kedge::llm {

namespace {

struct expert_words {
  std::string_view router, experts, gate, up, down;
};

constexpr expert_words words_of(expert_names names) {
  switch (names) {
    case expert_names::gate_up_down:
      return {"mlp.gate", "mlp.experts", "gate_proj", "up_proj", "down_proj"};
    case expert_names::w1_w3_w2:
      return {"block_sparse_moe.gate", "block_sparse_moe.experts", "w1", "w3", "w2"};
    case expert_names::stacked:
      return {"block_sparse_moe.router.layer", "block_sparse_moe", "input_linear", "", "output_linear"};
  }
  return {};
}

}  // namespace

parameter layer_parameter(transformer_config const& c, std::int64_t layer, layer_slot slot) {
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim, H = c.hidden, I = c.intermediate;
  auto const named = [&](bool present, std::string_view name, std::vector<std::int64_t> shape) -> parameter {
    if (!present) return {};
    return {"model.layers." + std::to_string(layer) + "." + std::string(name), std::move(shape)};
  };
  auto const norm = [&](std::string_view name) { return named(!name.empty(), std::string(name) + ".weight", {H}); };
  bool const dense = c.experts.count == 0;
  bool const norms_heads = c.qk_norms != query_key_norms::none, over_heads = c.qk_norms == query_key_norms::over_heads;
  switch (slot) {
    case input_norm:
      return norm(c.norms.before_attention);
    case qkv_proj:
      return named(c.fused_qkv, "self_attn.qkv_proj.weight", {q + 2 * kv, H});
    case q_proj:
      return named(!c.fused_qkv, "self_attn.q_proj.weight", {q, H});
    case q_bias:
      return named(c.qkv_bias, "self_attn.q_proj.bias", {q});
    case k_proj:
      return named(!c.fused_qkv, "self_attn.k_proj.weight", {kv, H});
    case k_bias:
      return named(c.qkv_bias, "self_attn.k_proj.bias", {kv});
    case v_proj:
      return named(!c.fused_qkv, "self_attn.v_proj.weight", {kv, H});
    case v_bias:
      return named(c.qkv_bias, "self_attn.v_proj.bias", {kv});
    case q_norm:
      return named(norms_heads, "self_attn.q_norm.weight", {over_heads ? q : c.head_dim});
    case k_norm:
      return named(norms_heads, "self_attn.k_norm.weight", {over_heads ? kv : c.head_dim});
    case o_proj:
      return named(true, "self_attn.o_proj.weight", {H, q});
    case o_bias:
      return named(c.o_bias, "self_attn.o_proj.bias", {H});
    case attention_output_norm:
      return norm(c.norms.after_attention);
    case post_norm:
      return norm(c.norms.before_mlp);
    case gate_up_proj:
      return named(dense && c.gated && c.fused_gate_up, "mlp.gate_up_proj.weight", {2 * I, H});
    case gate_proj:
      return named(dense && c.gated && !c.fused_gate_up, "mlp.gate_proj.weight", {I, H});
    case gate_bias:
      return named(c.gated && c.mlp_bias, "mlp.gate_proj.bias", {I});
    case up_proj:
      return named(dense && (!c.gated || !c.fused_gate_up), "mlp.up_proj.weight", {I, H});
    case up_bias:
      return named(c.mlp_bias, "mlp.up_proj.bias", {I});
    case down_proj:
      return named(dense, "mlp.down_proj.weight", {H, I});
    case down_bias:
      return named(c.mlp_bias, "mlp.down_proj.bias", {H});
    case mlp_output_norm:
      return norm(c.norms.after_mlp);
    case router:
      return named(!dense, std::string(words_of(c.experts.names).router) + ".weight", {c.experts.count, H});
    case layer_slots:
      break;
  }
  return {};
}

parameter expert_parameter(transformer_config const& c, std::int64_t layer, std::int64_t expert, expert_slot slot) {
  std::int64_t const H = c.hidden, I = c.intermediate, E = c.experts.count;
  expert_words const words = words_of(c.experts.names);
  std::string const place = "model.layers." + std::to_string(layer) + "." + std::string(words.experts) + ".";
  if (c.experts.names == expert_names::stacked) {
    if (slot == expert_up) return {};
    return slot == expert_down ? parameter{place + std::string(words.down) + ".weight", {E, H, I}}
                               : parameter{place + std::string(words.gate) + ".weight", {E, 2 * I, H}};
  }
  std::string const own = place + std::to_string(expert) + ".";
  switch (slot) {
    case expert_gate:
      return {own + std::string(words.gate) + ".weight", {I, H}};
    case expert_up:
      return {own + std::string(words.up) + ".weight", {I, H}};
    case expert_down:
      return {own + std::string(words.down) + ".weight", {H, I}};
    case expert_slots:
      break;
  }
  return {};
}

namespace {

std::vector<parameter> expert_parameters(transformer_config const& c, std::int64_t layer) {
  std::vector<parameter> all;
  std::int64_t const named =
      c.experts.names == expert_names::stacked ? std::min<std::int64_t>(1, c.experts.count) : c.experts.count;
  for (std::int64_t e = 0; e < named; ++e)
    for (expert_slot const slot : {expert_gate, expert_up, expert_down})
      if (parameter p = expert_parameter(c, layer, e, slot); !p.name.empty()) all.push_back(std::move(p));
  return all;
}

}  // namespace

slots::slots(transformer_config const& c) : tied_(c.tied_embeddings) {
  for (std::size_t slot = 0; slot < layer_slots; ++slot)
    offset_[slot] = layer_parameter(c, 0, static_cast<layer_slot>(slot)).name.empty() ? none : layer_size_++;
  experts_size_ = expert_parameters(c, 0).size();
  layer_size_ += experts_size_;
  final_norm_ = 1 + static_cast<std::size_t>(c.layers) * layer_size_;
  scalar_head_ = final_norm_ + (c.lm_head && !c.tied_embeddings ? 2 : 1);
}

std::vector<parameter> parameters_of(transformer_config const& c) {
  std::vector<parameter> all{{"model.embed_tokens.weight", {c.vocabulary, c.hidden}}};
  for (std::int64_t i = 0; i < c.layers; ++i) {
    for (std::size_t slot = 0; slot < layer_slots; ++slot)
      if (parameter p = layer_parameter(c, i, static_cast<layer_slot>(slot)); !p.name.empty()) all.push_back(std::move(p));
    for (parameter& p : expert_parameters(c, i)) all.push_back(std::move(p));
  }
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
    for (parameter const& p : parameters_of(c))
      sum += std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>());
    return sum;
  };
  std::int64_t const outer = count(0);  // all layers are alike
  return outer + config.layers * (count(1) - outer);
}

}  // namespace kedge::llm
