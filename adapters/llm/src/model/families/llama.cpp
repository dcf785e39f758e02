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
    .gguf = {.architecture = "llama", .paired_rows = true, .complete = complete_llama},
    .max_positions = 2048,
    .attention_bias = true,
    .mlp_bias = true,
};

}  // namespace kedge::llm::known
