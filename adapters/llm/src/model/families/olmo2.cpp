// SPDX-License-Identifier: Apache-2.0

// OLMo 2: arXiv 2501.00656.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
}

}  // namespace

extern family const olmo2{
    .names = {"olmo2", "Olmo2ForCausalLM", "Olmo2ForSequenceClassification"},
    .gguf = {.architecture = "olmo2", .written = true, .complete = complete},
    .sizes = {.vocabulary = 50304, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .eps = 1e-5,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::over_heads,
    .norms = {.before_attention = "",
              .after_attention = "post_attention_layernorm",
              .before_mlp = "",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
