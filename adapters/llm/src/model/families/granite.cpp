// SPDX-License-Identifier: Apache-2.0

// Granite 3 and 4.1: Llama with multipliers, arXiv 2408.13359.

#include "llama.hpp"

namespace kedge::llm::known {

void complete_granite(gguf_keys const& file, nlohmann::ordered_json& config) {
  complete_llama(file, config);
  config.erase("pretraining_tp");
  for (auto const& [key, theirs] : {std::pair{"embedding_multiplier", "embedding_scale"},
                                    {"residual_multiplier", "residual_scale"},
                                    {"attention_multiplier", "attention.scale"},
                                    {"logits_scaling", "logit_scale"}})
    if (auto const value = file.real(theirs)) config[key] = *value;
}

extern family const granite{
    .names = {"granite", "GraniteForCausalLM"},
    .gguf = {.architecture = "granite", .paired_rows = true, .written = true, .complete = complete_granite},
    .sizes = {.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .multipliers = true,
};

}  // namespace kedge::llm::known
