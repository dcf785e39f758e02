// SPDX-License-Identifier: Apache-2.0

// Gemma 3, the text model: arXiv 2503.19786.

#include "gemma.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_norm", "pre_feedforward_layernorm"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) { complete_gemma(file, config, 62); }

}  // namespace

extern family const gemma3{
    .names = {"gemma3_text", "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification"},
    .gguf = {.architecture = "gemma3", .norms_plus_one = true, .two_ropes = true, .parts = parts, .complete = complete},
    .act_key = "hidden_activation",
    .act = activation::gelu_tanh,
    .tied = true,
    .shares_heads = true,
    .head_dim = 256,
    .max_positions = 131072,
    .theta = 1e6,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 6,
    .attention_bias = true,
    .gemma = true,
    .logit_caps = true,
    .query_scalar = true,
    .output_norms = true,
    .qk_norms = true,
    .local_rope = true,
};

}  // namespace kedge::llm::known
