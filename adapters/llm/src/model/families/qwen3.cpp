// SPDX-License-Identifier: Apache-2.0

// Qwen 3: arXiv 2505.09388.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
}

}  // namespace

extern family const qwen3{
    .names = {"qwen3", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"},
    .gguf = {.architecture = "qwen3", .complete = complete},
    .shares_heads = true,
    .head_dim = 128,
    .max_positions = 32768,
    .window = windows::from_layer,
    .lists_layers = true,
    .default_window = 4096,
    .window_switch = true,
    .attention_bias = true,
    .qk_norms = true,
};

}  // namespace kedge::llm::known
