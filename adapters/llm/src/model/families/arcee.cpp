// SPDX-License-Identifier: Apache-2.0

// Arcee (AFM): Llama whose MLP has no gate.

#include "llama.hpp"

namespace kedge::llm::known {

namespace {

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  complete_llama(file, config);
  config.erase("pretraining_tp");
  config["hidden_act"] = "relu2";
}

}  // namespace

extern family const arcee{
    .names = {"arcee", "ArceeForCausalLM", "ArceeForSequenceClassification"},
    .gguf = {.architecture = "arcee", .paired_rows = true, .written = true, .complete = complete},
    .sizes = {.vocabulary = 32000, .hidden = 2560, .intermediate = 18432, .layers = 32, .heads = 32, .positions = 4096},
    .act = activation::relu2,
    .eps = 1e-5,
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .gated = false,
};

}  // namespace kedge::llm::known
