// SPDX-License-Identifier: Apache-2.0

// OLMo 3: OLMo 2 with windows in three layers of four.

#include "family.hpp"

namespace kedge::llm::known {

extern family const olmo3{
    .names = {"olmo3", "Olmo3ForCausalLM", "Olmo3ForSequenceClassification"},
    .sizes = {.vocabulary = 50304, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .eps = 1e-5,
    .theta = 500000,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 4,
    .local_rope = true,
    .local_theta = 500000,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::over_heads,
    .norms = {.before_attention = "",
              .after_attention = "post_attention_layernorm",
              .before_mlp = "",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
