// SPDX-License-Identifier: Apache-2.0

// EXAONE 4: arXiv 2507.11407.

#include "family.hpp"

namespace kedge::llm::known {

extern family const exaone4{
    .names = {"exaone4", "Exaone4ForCausalLM", "Exaone4ForSequenceClassification"},
    .sizes = {.vocabulary = 102400,
              .hidden = 4096,
              .intermediate = 16384,
              .layers = 32,
              .heads = 32,
              .kv_heads = 32,
              .positions = 2048},
    .eps = 1e-5,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 4,
    .still_globally = true,
    .qk_norms = query_key_norms::by_head,
    .norms = {.before_attention = "",
              .after_attention = "post_attention_layernorm",
              .before_mlp = "",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
