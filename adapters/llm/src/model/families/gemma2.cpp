// SPDX-License-Identifier: Apache-2.0

// Gemma 2: arXiv 2408.00118.

#include "gemma.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_norm", "pre_feedforward_layernorm"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) { complete_gemma(file, config, 46); }

}  // namespace

extern family const gemma2{
    .names = {"gemma2", "Gemma2ForCausalLM", "Gemma2ForSequenceClassification"},
    .gguf = {.architecture = "gemma2",
             .norms_plus_one = true,
             .states_windows = true,
             .written = true,
             .parts = parts,
             .complete = complete},
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
    .norms = {.after_attention = "post_attention_layernorm",
              .before_mlp = "pre_feedforward_layernorm",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
