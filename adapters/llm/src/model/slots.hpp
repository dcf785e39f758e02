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
  mlp_output_norm,
  layer_slots
};

/// Name and shape of a layer's tensor; the name is empty where the family has none.
[[nodiscard]] parameter layer_parameter(transformer_config const& config, std::int64_t layer, layer_slot slot);

/// Where a model's tensors lie in a pack: the order of parameters_of().
class slots {
 public:
  explicit slots(transformer_config const& config);
  [[nodiscard]] std::size_t embedding() const { return 0; }
  [[nodiscard]] bool has(layer_slot slot) const { return offset_[slot] != none; }
  [[nodiscard]] std::size_t of(std::int64_t layer, layer_slot slot) const { return 1 + static_cast<std::size_t>(layer) * layer_size_ + offset_[slot]; }
  [[nodiscard]] std::size_t final_norm() const { return final_norm_; }
  [[nodiscard]] std::size_t head() const { return tied_ ? embedding() : final_norm_ + 1; }
  [[nodiscard]] std::size_t scalar_head() const { return scalar_head_; }

 private:
  static constexpr std::size_t none = layer_slots;
  std::array<std::size_t, layer_slots> offset_{};  // within a layer
  std::size_t layer_size_ = 0, final_norm_, scalar_head_;
  bool tied_;
};

}  // namespace kedge::llm
