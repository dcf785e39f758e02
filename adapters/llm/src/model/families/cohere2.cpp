// SPDX-License-Identifier: Apache-2.0

// Command R7B and A: Command R with windows in three layers of four; those without one do not turn.

#include "family.hpp"

namespace kedge::llm::known {

extern family const cohere2{
    .names = {"cohere2", "Cohere2ForCausalLM"},
    .sizes = {.vocabulary = 256000, .hidden = 8192, .intermediate = 22528, .layers = 40, .heads = 64, .positions = 8192},
    .tied = true,
    .eps = 1e-5,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 4,
    .still_globally = true,
    .interleaved_rope = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .norms = {.before_mlp = ""},
    .norm = norm_kind::layer,
    .eps_key = "layer_norm_eps",
    .parallel = true,
    .logit_scale = 0.0625,
};

}  // namespace kedge::llm::known
