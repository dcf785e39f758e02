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
    .gguf = {.architecture = "qwen3", .written = true, .complete = complete},
    .sizes = {.vocabulary = 151936,
              .hidden = 4096,
              .intermediate = 22016,
              .layers = 32,
              .heads = 32,
              .kv_heads = 32,
              .head_dim = 128,
              .positions = 32768},
    .window = windows::from_layer,
    .lists_layers = true,
    .default_window = 4096,
    .window_switch = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::by_head,
};

}  // namespace kedge::llm::known
