// SPDX-License-Identifier: Apache-2.0

// Llama: arXiv 2307.09288, 2407.21783.

#include "llama.hpp"

namespace kedge::llm::known {

void complete_llama(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = file.has_tensor("blk.0.ffn_up.bias");
  config["pretraining_tp"] = 1;
}

extern family const llama{
    .names = {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification"},
    .gguf = {.architecture = "llama", .paired_rows = true, .written = true, .complete = complete_llama},
    .sizes = {.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
};

}  // namespace kedge::llm::known
