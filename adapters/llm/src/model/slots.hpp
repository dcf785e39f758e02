// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <kedge/llm/model/config.hpp>

namespace kedge::llm {

/// The tensors that a layer may have, in the order of a pack.
enum layer_slot : std::size_t {
  input_norm, input_norm_bias,
  qkv_proj, q_proj, q_bias, k_proj, k_bias, v_proj, v_bias,
  q_norm, k_norm, attention_sinks,
  o_proj, o_bias,
  attention_output_norm, post_norm, post_norm_bias,
  gate_up_proj, gate_proj, gate_bias, up_proj, up_bias,
  down_proj, down_bias,
  router, router_bias,
  mlp_output_norm,
  layer_slots
};

/// The maps of an expert, where each has its own.
enum expert_slot : std::size_t { expert_gate, expert_up, expert_down, expert_slots };
/// The tensors of all experts of a layer, where they are stacked.
enum expert_stack : std::size_t { gate_up_stack, gate_up_bias_stack, down_stack, down_bias_stack, expert_stacks };

/// Name and shape of a layer's tensor; the name is empty where the family has none.
[[nodiscard]] parameter layer_parameter(transformer_config const& config, std::int64_t layer, layer_slot slot);

/// Name and shape of a map of an expert.
[[nodiscard]] parameter expert_parameter(transformer_config const& config, std::int64_t layer, std::int64_t expert, expert_slot slot);
/// Name and shape of a stack of them; the name is empty where the family has none.
[[nodiscard]] parameter stack_parameter(transformer_config const& config, std::int64_t layer, expert_stack stack);
/// Whether the experts of a layer are one tensor.
[[nodiscard]] constexpr bool stacks(expert_names names) { return names == expert_names::stacked || names == expert_names::transposed; }

/// Where a model's tensors lie in a pack: the order of parameters_of().
class slots {
 public:
  explicit slots(transformer_config const& config);
  [[nodiscard]] std::size_t embedding() const { return 0; }
  [[nodiscard]] bool has(std::int64_t layer, layer_slot slot) const { return of(layer).offset[slot] != none; }
  /// slot: layer_slots for the layer's first tensor
  [[nodiscard]] std::size_t of(std::int64_t layer, layer_slot slot) const {
    return begin_[static_cast<std::size_t>(layer)] + (slot == layer_slots ? 0 : of(layer).offset[slot]);
  }
  /// Experts stand behind the other tensors of their layer.
  [[nodiscard]] std::size_t of_expert(std::int64_t layer, std::int64_t expert, expert_slot slot) const {
    return of(layer, layer_slots) + of(layer).size + static_cast<std::size_t>(expert) * expert_slots + slot;
  }
  /// The same where they are stacked; without biases there are two stacks.
  [[nodiscard]] std::size_t of_stack(std::int64_t layer, expert_stack stack) const {
    return of(layer, layer_slots) + of(layer).size + (biases_ ? stack : stack / 2);
  }
  [[nodiscard]] std::size_t final_norm() const { return begin_.back(); }
  [[nodiscard]] std::size_t final_norm_bias() const { return final_norm() + 1; }
  [[nodiscard]] std::size_t head() const { return tied_ ? embedding() : head_; }
  [[nodiscard]] std::size_t scalar_head() const { return scalar_head_; }

 private:
  static constexpr std::size_t none = layer_slots;
  struct layer_places {
    std::array<std::size_t, layer_slots> offset{};  // within a layer
    std::size_t size = 0;                           // without experts
  };
  [[nodiscard]] layer_places const& of(std::int64_t layer) const { return sparse_[static_cast<std::size_t>(layer)] ? with_experts_ : without_; }

  layer_places with_experts_, without_;
  std::vector<bool> sparse_;        // [layers]
  std::vector<std::size_t> begin_;  // [layers + 1]
  std::size_t head_, scalar_head_;
  bool tied_, biases_;
};

}  // namespace kedge::llm
