// SPDX-License-Identifier: Apache-2.0
#include "model_tensors.hpp"

namespace kedge::llm {

model_tensors::model_tensors(transformer_config const& config, pack const* own, adapter_layout const* layout, pack const* adapter)
    : config_(config), at_(config), own_(own), layout_(layout), adapter_(adapter) {}

model_tensors model_tensors::weights(causal_lm const& model, pack const& weights) {
  if (adapted_base const* const base = model.adapted()) return {model.config(), &base->weights, &base->layout, &weights};
  return {model.config(), &weights, nullptr, nullptr};
}

model_tensors model_tensors::gradients(causal_lm const& model, pack const& gradients) {
  if (adapted_base const* const base = model.adapted()) return {model.config(), nullptr, &base->layout, &gradients};
  return {model.config(), &gradients, nullptr, nullptr};
}

linear_map model_tensors::map(std::int64_t layer, layer_slot weight, layer_slot bias) const {
  linear_map map{own(at_.of(layer, weight)), at_.has(bias) ? own(at_.of(layer, bias)) : at::Tensor(), {}, {}, 1};
  if (!layout_) return map;
  if (auto const a = layout_->of(layer, weight)) {
    map.a = (*adapter_)[*a];
    map.b = (*adapter_)[*a + 1];
    map.scale = layout_->scale();
  }
  return map;
}

expert_tensors model_tensors::experts(std::int64_t i) const {
  expert_tensors t{own(at_.of(i, router)), {}};
  std::int64_t const inner = config_.intermediate;
  bool const stacked = config_.experts.names == expert_names::stacked;
  at::Tensor const gate_up = stacked ? own(at_.of_stack(i, false)) : at::Tensor(), down = stacked ? own(at_.of_stack(i, true)) : at::Tensor();
  for (std::int64_t e = 0; e < config_.experts.count; ++e) {
    if (!stacked)
      t.experts.push_back({own(at_.of_expert(i, e, expert_gate)), own(at_.of_expert(i, e, expert_up)), own(at_.of_expert(i, e, expert_down))});
    else if (gate_up.defined())
      t.experts.push_back({gate_up.select(0, e).narrow(0, 0, inner), gate_up.select(0, e).narrow(0, inner, inner), down.select(0, e)});
    else
      t.experts.emplace_back();
  }
  return t;
}

layer_tensors model_tensors::layer(std::int64_t i) const {
  auto const norm = [&](layer_slot slot) { return at_.has(slot) ? own(at_.of(i, slot)) : at::Tensor(); };
  layer_tensors t;
  t.input_norm = norm(input_norm);
  t.post_norm = norm(post_norm);
  t.q_norm = norm(q_norm);
  t.k_norm = norm(k_norm);
  t.attention_output_norm = norm(attention_output_norm);
  t.mlp_output_norm = norm(mlp_output_norm);
  t.o = map(i, o_proj, o_bias);
  if (config_.experts.count > 0)
    t.experts = experts(i);
  else
    t.down = map(i, down_proj, down_bias);
  if (config_.fused_qkv) {
    std::int64_t const queries = config_.heads * config_.head_dim, keys = config_.kv_heads * config_.head_dim;
    linear_map const qkv = map(i, qkv_proj, q_bias);
    t.q = qkv.outputs(0, queries);
    t.k = qkv.outputs(queries, keys);
    t.v = qkv.outputs(queries + keys, keys);
  } else {
    t.q = map(i, q_proj, q_bias);
    t.k = map(i, k_proj, k_bias);
    t.v = map(i, v_proj, v_bias);
  }
  if (config_.experts.count > 0) return t;
  if (config_.gated && config_.fused_gate_up) {
    linear_map const gate_up = map(i, gate_up_proj, gate_bias);
    t.gate = gate_up.outputs(0, config_.intermediate);
    t.up = gate_up.outputs(config_.intermediate, config_.intermediate);
  } else {
    if (config_.gated) t.gate = map(i, gate_proj, gate_bias);
    t.up = map(i, up_proj, up_bias);
  }
  return t;
}

at::Tensor model_tensors::merged(std::int64_t layer, layer_slot slot) const {
  at::Tensor const own_tensor = own(at_.of(layer, slot));
  auto const a = layout_ ? layout_->of(layer, slot) : std::nullopt;
  if (!a) return own_tensor;
  at::Tensor const product = at::mm((*adapter_)[*a + 1].to(at::kDouble), (*adapter_)[*a].to(at::kDouble));
  return at::add(own_tensor.to(at::kDouble), product, layout_->scale()).to(own_tensor.scalar_type());
}

}  // namespace kedge::llm
