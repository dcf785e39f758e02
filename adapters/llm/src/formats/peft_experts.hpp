// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kedge::llm {

/// A checkpoint's weight of an expert, or of all of them, as a part of the two that transformers stacks: gate_up_proj [E, 2 I, H], gate before
/// up, and down_proj [E, H, I].
struct expert_weight {
  std::string module;                     ///< of transformers: "model.layers.0.mlp.experts"
  bool down = false;                      ///< of down_proj
  bool upper = false;                     ///< its rows begin in the middle of gate_up_proj's
  std::optional<std::int64_t> expert{};   ///< none: it is stacked itself
  bool turned = false;                    ///< stacked as [E, in, out]
};

/// "model.layers.0.mlp.experts.3.gate_proj.weight", "….block_sparse_moe.experts.3.w1.weight", "….block_sparse_moe.input_linear.weight" or
/// "….mlp.experts.gate_up_proj";
/// nothing for a name of another kind.
[[nodiscard]] std::optional<expert_weight> expert_weight_of(std::string const& parameter);

}  // namespace kedge::llm
