// SPDX-License-Identifier: Apache-2.0

// VaultGemma: Gemma 2 without norms of what attention and MLP give.

#include "family.hpp"

namespace kedge::llm::known {

extern family const vaultgemma{
    .names = {"vaultgemma", "VaultGemmaForCausalLM"},
    .sizes = {.vocabulary = 256000,
              .hidden = 2304,
              .intermediate = 9216,
              .layers = 26,
              .heads = 8,
              .kv_heads = 4,
              .head_dim = 256,
              .positions = 8192},
    .act_key = "hidden_activation",
    .act = activation::gelu_tanh,
    .tied = true,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 2,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .gemma = true,
    .attention_cap = 50,
    .logit_cap = 30,
    .attention_caps = true,
    .logit_caps = true,
    .query_scalar = true,
    .norms = {.before_mlp = "pre_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
