// SPDX-License-Identifier: Apache-2.0

// GLM-4 of 2024: arXiv 2406.12793.

#include "family.hpp"

namespace kedge::llm::known {

extern family const glm{
    .names = {"glm", "GlmForCausalLM", "GlmForSequenceClassification"},
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
    .fused_gate_up = true,
};

}  // namespace kedge::llm::known
