// SPDX-License-Identifier: Apache-2.0
#include "model_tensors.hpp"

#include <utility>

namespace kedge::llm {

model_tensors::model_tensors(transformer_config const& config, pack const* own, adapter_layout const* layout, pack const* adapter,
                             stored_matrices const* stored)
    : config_(config), at_(config), own_(own), layout_(layout), adapter_(adapter), stored_(stored) {}

model_tensors model_tensors::weights(causal_lm const& model, pack const& weights) {
  if (adapted_base const* const base = model.adapted()) return {model.config(), &base->weights, &base->layout, &weights, base->stored.get()};
  return {model.config(), &weights, nullptr, nullptr};
}

model_tensors model_tensors::gradients(causal_lm const& model, pack const& gradients) {
  if (adapted_base const* const base = model.adapted()) return {model.config(), nullptr, &base->layout, &gradients};
  return {model.config(), &gradients, nullptr, nullptr};
}

at::Tensor model_tensors::own(std::size_t i) const {
  if (layout_)
    if (std::size_t const whole = layout_->of(i).whole; whole != adapted_place::none) return (*adapter_)[whole];
  return own_ && i < own_->size() ? (*own_)[i] : at::Tensor();
}

quantised_matrix model_tensors::stored(std::size_t i) const { return stored_ && i < stored_->all.size() ? stored_->all[i] : quantised_matrix(); }

linear_map model_tensors::adapter(adapted_place const& place) const {
  auto const tensor = [&](std::size_t i, std::size_t behind = 0) { return i == adapted_place::none ? at::Tensor() : (*adapter_)[i + behind]; };
  linear_map map;
  map.a = tensor(place.a);
  map.b = tensor(place.a, 1);
  map.scale = place.scale;
  map.bias_of_b = tensor(place.bias);
  map.magnitude = tensor(place.magnitude);
  return map;
}

linear_map model_tensors::map(std::size_t weight) const {
  linear_map map = layout_ ? adapter(layout_->of(weight)) : linear_map{};
  map.weight = own(weight);
  map.stored = stored(weight);
  if (own_ && map.magnitude.defined())
    map.length = map.stored.defined() ? row_lengths(map.stored, map.a, map.b, map.scale) : row_lengths(map.weight, map.a, map.b, map.scale);
  return map;
}

linear_map model_tensors::map(std::int64_t layer, layer_slot weight, layer_slot bias) const {
  linear_map map = this->map(at_.of(layer, weight));
  if (at_.has(layer, bias)) map.bias = own(at_.of(layer, bias));
  return map;
}

linear_map model_tensors::embedding() const {
  linear_map map = layout_ ? adapter(layout_->of(at_.embedding())) : linear_map{};
  map.weight = own(at_.embedding());
  map.stored = stored(at_.embedding());
  if (own_ && map.magnitude.defined()) map.length = row_lengths(map.weight.t(), map.a, map.b, map.scale);
  return map;
}

namespace {

// One expert's factors of those of all: A lies expert by expert, [E r, in]; of B's columns the experts' alternate, [out, r E].
// Products read rows or columns, hence a copy of weights; gradients are added in place.
linear_map of_expert(linear_map const& all, std::int64_t e, std::int64_t experts, bool weights) {
  linear_map one = all;
  if (!all.a.defined()) return one;
  std::int64_t const rank = all.a.size(0) / experts;
  one.a = all.a.narrow(0, e * rank, rank);
  one.b = all.b.view({-1, rank, experts}).select(2, e);
  if (weights) one.b = one.b.contiguous();
  return one;
}

}  // namespace

expert_tensors model_tensors::experts(std::int64_t i) const {
  expert_settings const& e = config_.experts;
  expert_tensors t{own(at_.of(i, router)), e.biases ? own(at_.of(i, router_bias)) : at::Tensor(), {}};
  auto const stack = [&](expert_stack which) { return stacks(e.names) && (e.biases || which % 2 == 0) ? own(at_.of_stack(i, which)) : at::Tensor(); };
  at::Tensor const gate_up = stack(gate_up_stack), gate_up_bias = stack(gate_up_bias_stack), down = stack(down_stack), down_bias = stack(down_bias_stack);
  linear_map const of_gate_up = layout_ ? adapter(layout_->of_experts(i, false)) : linear_map{},
                   of_down = layout_ ? adapter(layout_->of_experts(i, true)) : linear_map{};
  auto const one = [](at::Tensor const& of, std::int64_t k) { return of.defined() ? of.select(0, k) : of; };
  auto const weight = [&](at::Tensor const& of, std::int64_t k) {
    return of.defined() && e.names == expert_names::transposed ? one(of, k).t() : one(of, k);
  };
  for (std::int64_t k = 0; k < e.count; ++k) {
    linear_map both = of_expert(of_gate_up, k, e.count, own_ != nullptr);
    expert_maps maps{{}, {}, of_expert(of_down, k, e.count, own_ != nullptr)};
    if (stacks(e.names)) {
      both.weight = weight(gate_up, k);
      both.bias = one(gate_up_bias, k);
      maps.down.weight = weight(down, k);
      maps.down.bias = one(down_bias, k);
      maps.gate = std::move(both);
    } else {
      maps.gate = both.outputs(0, e.intermediate);
      maps.up = both.outputs(e.intermediate, e.intermediate);
      for (auto const& [map, slot] : {std::pair{&maps.gate, expert_gate}, {&maps.up, expert_up}, {&maps.down, expert_down}}) {
        map->weight = own(at_.of_expert(i, k, slot));
        map->stored = stored(at_.of_expert(i, k, slot));
      }
    }
    t.experts.push_back(std::move(maps));
  }
  return t;
}

layer_tensors model_tensors::layer(std::int64_t i) const {
  auto const norm = [&](layer_slot slot) { return at_.has(i, slot) ? own(at_.of(i, slot)) : at::Tensor(); };
  layer_tensors t;
  t.input_norm = norm(input_norm);
  t.input_norm_bias = norm(input_norm_bias);
  t.post_norm = norm(post_norm);
  t.post_norm_bias = norm(post_norm_bias);
  t.q_norm = norm(q_norm);
  t.k_norm = norm(k_norm);
  t.sinks = norm(attention_sinks);
  t.attention_output_norm = norm(attention_output_norm);
  t.mlp_output_norm = norm(mlp_output_norm);
  t.o = map(i, o_proj, o_bias);
  bool const sparse = config_.has_experts(i);
  if (sparse)
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
  if (sparse) return t;
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

at::Tensor model_tensors::merged(std::size_t i) const {
  if (i != at_.embedding() || !layout_) return llm::merged(map(i));
  linear_map turned = embedding();
  if (turned.plain()) return llm::merged(turned);
  turned.weight = (turned.stored.defined() ? turned.stored.dense(wide_type(turned.stored)) : turned.weight).t();
  turned.stored = {};
  return llm::merged(turned).t().contiguous();
}

}  // namespace kedge::llm
