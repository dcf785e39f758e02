// SPDX-License-Identifier: Apache-2.0

// Gemma 3, the text model: arXiv 2503.19786.

#include "gemma.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_norm", "pre_feedforward_layernorm"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) { complete_gemma(file, config, 62); }

}  // namespace

extern family const gemma3{
    .names = {"gemma3_text", "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification", "Gemma3TextModel"},
    .gguf = {.architecture = "gemma3",
             .norms_plus_one = true,
             .two_ropes = true,
             .states_windows = true,
             .written = true,
             .parts = parts,
             .complete = complete},
    .sizes = {.vocabulary = 262208,
              .hidden = 2304,
              .intermediate = 9216,
              .layers = 26,
              .heads = 8,
              .kv_heads = 4,
              .head_dim = 256,
              .positions = 131072},
    .act_key = "hidden_activation",
    .act = activation::gelu_tanh,
    .tied = true,
    .theta = 1e6,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 6,
    .local_rope = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .gemma = true,
    .logit_caps = true,
    .query_scalar = true,
    .qk_norms = query_key_norms::by_head,
    .norms = {.after_attention = "post_attention_layernorm",
              .before_mlp = "pre_feedforward_layernorm",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
