// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <kedge/llm/model/config.hpp>

namespace kedge::llm {

/// The tensors that a layer may have, in the order of a pack.
enum layer_slot : std::size_t {
  input_norm,
  qkv_proj, q_proj, q_bias, k_proj, k_bias, v_proj, v_bias,
  q_norm, k_norm,
  o_proj, o_bias,
  attention_output_norm, post_norm,
  gate_up_proj, gate_proj, gate_bias, up_proj, up_bias,
  down_proj, down_bias,
  router,
  mlp_output_norm,
  layer_slots
};

/// The maps of one expert.
enum expert_slot : std::size_t { expert_gate, expert_up, expert_down, expert_slots };

/// Name and shape of a layer's tensor; the name is empty where the family has none.
[[nodiscard]] parameter layer_parameter(transformer_config const& config, std::int64_t layer, layer_slot slot);

/// Name and shape of a map of an expert. Where experts are stacked, `expert` is 0, and expert_up has no name of its own.
[[nodiscard]] parameter expert_parameter(transformer_config const& config, std::int64_t layer, std::int64_t expert, expert_slot slot);

/// Where a model's tensors lie in a pack: the order of parameters_of().
class slots {
 public:
  explicit slots(transformer_config const& config);
  [[nodiscard]] std::size_t embedding() const { return 0; }
  [[nodiscard]] bool has(layer_slot slot) const { return offset_[slot] != none; }
  /// slot: layer_slots for the layer's first tensor
  [[nodiscard]] std::size_t of(std::int64_t layer, layer_slot slot) const {
    return 1 + static_cast<std::size_t>(layer) * layer_size_ + (slot == layer_slots ? 0 : offset_[slot]);
  }
  /// Experts stand behind the other tensors of their layer.
  [[nodiscard]] std::size_t of_expert(std::int64_t layer, std::int64_t expert, expert_slot slot) const {
    return of(layer + 1, layer_slots) - experts_size_ + static_cast<std::size_t>(expert) * expert_slots + slot;
  }
  /// The same where they are stacked: gate and up, or down.
  [[nodiscard]] std::size_t of_stack(std::int64_t layer, bool down) const { return of(layer + 1, layer_slots) - experts_size_ + (down ? 1 : 0); }
  [[nodiscard]] std::size_t final_norm() const { return final_norm_; }
  [[nodiscard]] std::size_t head() const { return tied_ ? embedding() : final_norm_ + 1; }
  [[nodiscard]] std::size_t scalar_head() const { return scalar_head_; }

 private:
  static constexpr std::size_t none = layer_slots;
  std::array<std::size_t, layer_slots> offset_{};  // within a layer
  std::size_t layer_size_ = 0, experts_size_ = 0, final_norm_, scalar_head_;
  bool tied_;
};

}  // namespace kedge::llm
