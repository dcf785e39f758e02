// SPDX-License-Identifier: Apache-2.0

// Seed-OSS: Llama with biases of its own.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
  config["attention_out_bias"] = file.has_tensor("blk.0.attn_output.bias");
  config["mlp_bias"] = file.has_tensor("blk.0.ffn_up.bias");
}

}  // namespace

extern family const seed_oss{
    .names = {"seed_oss", "SeedOssForCausalLM", "SeedOssForSequenceClassification"},
    .gguf = {.architecture = "seed_oss", .written = true, .complete = complete},
    .sizes = {.vocabulary = 155136,
              .hidden = 4096,
              .intermediate = 27648,
              .layers = 64,
              .heads = 80,
              .kv_heads = 8,
              .head_dim = 128,
              .positions = 524288},
    .attention_bias = bias_key::on,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::off,
};

}  // namespace kedge::llm::known
