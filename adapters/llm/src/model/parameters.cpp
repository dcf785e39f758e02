// SPDX-License-Identifier: Apache-2.0
#include <functional>  // multiplies
#include <numeric>     // accumulate
#include <optional>    // optional
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
      return {"block_sparse_moe.router.layer", "block_sparse_moe", "input_linear.weight", "", "output_linear.weight"};
    case expert_names::transposed:
      return {"mlp.router", "mlp.experts", "gate_up_proj", "", "down_proj"};
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
  auto const norm_bias = [&](std::string_view name) { return named(c.norm_bias && !name.empty(), std::string(name) + ".bias", {H}); };
  auto const of_mlp = [](std::string_view map, std::string_view part) { return "mlp." + std::string(map) + "." + std::string(part); };
  bool const dense = !c.has_experts(layer);
  bool const norms_heads = c.qk_norms != query_key_norms::none, over_heads = c.qk_norms == query_key_norms::over_heads;
  switch (slot) {
    case input_norm:
      return norm(c.norms.before_attention);
    case input_norm_bias:
      return norm_bias(c.norms.before_attention);
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
    case attention_sinks:
      return named(c.sinks, "self_attn.sinks", {c.heads});
    case o_proj:
      return named(true, "self_attn.o_proj.weight", {H, q});
    case o_bias:
      return named(c.o_bias, "self_attn.o_proj.bias", {H});
    case attention_output_norm:
      return norm(c.norms.after_attention);
    case post_norm:
      return norm(c.norms.before_mlp);
    case post_norm_bias:
      return norm_bias(c.norms.before_mlp);
    case gate_up_proj:
      return named(dense && c.gated && c.fused_gate_up, "mlp.gate_up_proj.weight", {2 * I, H});
    case gate_proj:
      return named(dense && c.gated && !c.fused_gate_up, of_mlp(c.mlp.gate, "weight"), {I, H});
    case gate_bias:
      return named(dense && c.gated && c.mlp_bias, of_mlp(c.mlp.gate, "bias"), {I});
    case up_proj:
      return named(dense && (!c.gated || !c.fused_gate_up), of_mlp(c.mlp.up, "weight"), {I, H});
    case up_bias:
      return named(dense && c.mlp_bias, of_mlp(c.mlp.up, "bias"), {I});
    case down_proj:
      return named(dense, of_mlp(c.mlp.down, "weight"), {H, I});
    case down_bias:
      return named(dense && c.mlp_bias, of_mlp(c.mlp.down, "bias"), {H});
    case mlp_output_norm:
      return norm(c.norms.after_mlp);
    case router:
      return named(!dense, std::string(words_of(c.experts.names).router) + ".weight", {c.experts.count, H});
    case router_bias:
      return named(!dense && c.experts.biases, std::string(words_of(c.experts.names).router) + ".bias", {c.experts.count});
    case layer_slots:
      break;
  }
  return {};
}

namespace {

std::string place_of_experts(transformer_config const& c, std::int64_t layer) {
  return "model.layers." + std::to_string(layer) + "." + std::string(words_of(c.experts.names).experts) + ".";
}

}  // namespace

parameter expert_parameter(transformer_config const& c, std::int64_t layer, std::int64_t expert, expert_slot slot) {
  std::int64_t const H = c.hidden, I = c.experts.intermediate;
  expert_words const words = words_of(c.experts.names);
  std::string const own = place_of_experts(c, layer) + std::to_string(expert) + ".";
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

parameter stack_parameter(transformer_config const& c, std::int64_t layer, expert_stack stack) {
  std::int64_t const H = c.hidden, I = c.experts.intermediate, E = c.experts.count;
  expert_words const words = words_of(c.experts.names);
  bool const turned = c.experts.names == expert_names::transposed;
  std::string const place = place_of_experts(c, layer), gate_up = place + std::string(words.gate), down = place + std::string(words.down);
  switch (stack) {
    case gate_up_stack:
      return {gate_up, turned ? std::vector{E, H, 2 * I} : std::vector{E, 2 * I, H}};
    case gate_up_bias_stack:
      return c.experts.biases ? parameter{gate_up + "_bias", {E, 2 * I}} : parameter{};
    case down_stack:
      return {down, turned ? std::vector{E, I, H} : std::vector{E, H, I}};
    case down_bias_stack:
      return c.experts.biases ? parameter{down + "_bias", {E, H}} : parameter{};
    case expert_stacks:
      break;
  }
  return {};
}

namespace {

std::vector<parameter> expert_parameters(transformer_config const& c, std::int64_t layer) {
  std::vector<parameter> all;
  auto const add = [&](parameter p) {
    if (!p.name.empty()) all.push_back(std::move(p));
  };
  if (!c.has_experts(layer)) return all;
  if (stacks(c.experts.names))
    for (expert_stack const stack : {gate_up_stack, gate_up_bias_stack, down_stack, down_bias_stack}) add(stack_parameter(c, layer, stack));
  else
    for (std::int64_t e = 0; e < c.experts.count; ++e)
      for (expert_slot const slot : {expert_gate, expert_up, expert_down}) add(expert_parameter(c, layer, e, slot));
  return all;
}

}  // namespace

slots::slots(transformer_config const& c) : tied_(c.tied_embeddings), biases_(c.experts.biases) {
  auto const stacked = static_cast<std::size_t>(biases_ ? expert_stacks : expert_stacks / 2);
  std::size_t const experts = stacks(c.experts.names) ? stacked : expert_slots * static_cast<std::size_t>(c.experts.count);
  begin_.push_back(1);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    sparse_.push_back(c.has_experts(i));
    layer_places& places = sparse_.back() ? with_experts_ : without_;
    if (places.size == 0)
      for (std::size_t slot = 0; slot < layer_slots; ++slot)
        places.offset[slot] = layer_parameter(c, i, static_cast<layer_slot>(slot)).name.empty() ? none : places.size++;
    begin_.push_back(begin_.back() + places.size + (sparse_.back() ? experts : 0));
  }
  head_ = final_norm() + (c.norm_bias ? 2 : 1);
  scalar_head_ = head_ + (c.lm_head && !c.tied_embeddings ? 1 : 0);
}

std::vector<parameter> parameters_of(transformer_config const& c) {
  std::vector<parameter> all{{"model.embed_tokens.weight", {c.vocabulary, c.hidden}}};
  for (std::int64_t i = 0; i < c.layers; ++i) {
    for (std::size_t slot = 0; slot < layer_slots; ++slot)
      if (parameter p = layer_parameter(c, i, static_cast<layer_slot>(slot)); !p.name.empty()) all.push_back(std::move(p));
    for (parameter& p : expert_parameters(c, i)) all.push_back(std::move(p));
  }
  all.push_back({"model.norm.weight", {c.hidden}});
  if (c.norm_bias) all.push_back({"model.norm.bias", {c.hidden}});
  if (c.lm_head && !c.tied_embeddings) all.push_back({"lm_head.weight", {c.vocabulary, c.hidden}});
  if (c.scalar_head) all.push_back({"score.weight", {1, c.hidden}});
  return all;
}

std::int64_t parameter_count(transformer_config const& config) {
  auto const count = [&](std::optional<bool> dense) {
    transformer_config c = config;
    c.layers = dense ? 1 : 0;
    c.attention.assign(1, {.dense = dense.value_or(false)});
    std::int64_t sum = 0;
    for (parameter const& p : parameters_of(c))
      sum += std::accumulate(p.shape.begin(), p.shape.end(), std::int64_t{1}, std::multiplies<>());
    return sum;
  };
  std::int64_t sparse = 0;  // layers with experts are alike, and so are those without
  for (std::int64_t i = 0; i < config.layers; ++i) sparse += config.has_experts(i) ? 1 : 0;
  std::int64_t const outer = count({}), dense = config.layers - sparse;
  return outer + (dense > 0 ? dense * (count(true) - outer) : 0) + (sparse > 0 ? sparse * (count(false) - outer) : 0);
}

}  // namespace kedge::llm
