// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "family.hpp"

namespace kedge::llm::known {

/// GLM-4 in both forms, which differ in what is given here.
constexpr family glm_with(family_names names, gguf_facts gguf, layer_norms norms) {
  return {
      .names = names,
      .gguf = gguf,
      .sizes = {.vocabulary = 151552,
                .hidden = 4096,
                .intermediate = 13696,
                .layers = 40,
                .heads = 32,
                .kv_heads = 2,
                .head_dim = 128,
                .positions = 131072},
      .eps = 1.5625e-7,
      .interleaved_rope = true,
      .rotary_share = 0.5,
      .attention_bias = bias_key::on,
      .norms = norms,
      .fused_gate_up = true,
  };
}

}  // namespace kedge::llm::known
