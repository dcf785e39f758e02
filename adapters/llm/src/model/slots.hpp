// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <kedge/llm/model/config.hpp>

namespace kedge::llm {

// Where a layer's tensors lie in a pack, from the first of the layer on.
enum layer_slot : std::size_t { input_norm, q_proj, k_proj, v_proj, o_proj, post_norm, gate_proj, up_proj, down_proj, layer_slots };

struct slots {
  transformer_config const& config;
  [[nodiscard]] std::size_t embedding() const { return 0; }
  [[nodiscard]] std::size_t layer(std::int64_t i) const { return 1 + static_cast<std::size_t>(i) * layer_slots; }
  [[nodiscard]] std::size_t final_norm() const { return layer(config.layers); }
  [[nodiscard]] std::size_t head() const { return config.tied_embeddings ? embedding() : final_norm() + 1; }
};

}  // namespace kedge::llm
