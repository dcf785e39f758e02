// SPDX-License-Identifier: Apache-2.0

// Qwen 3 with experts: arXiv 2505.09388.

#include "family.hpp"

namespace kedge::llm::known {

extern family const qwen3_moe{
    .names = {"qwen3_moe", "Qwen3MoeForCausalLM", "Qwen3MoeForSequenceClassification"},
    .sizes = {.vocabulary = 151936,
              .hidden = 2048,
              .intermediate = 768,
              .layers = 24,
              .heads = 32,
              .kv_heads = 4,
              .positions = 32768},
    .window = windows::every_layer,
    .default_window = 4096,
    .window_switch = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::by_head,
    .experts = {.count = 128, .chosen = 8, .size_key = "moe_intermediate_size", .normalised = false, .normalises_by_key = true},
};

}  // namespace kedge::llm::known
