// SPDX-License-Identifier: Apache-2.0

// Granite 3 and 4.1: Llama with multipliers, arXiv 2408.13359.

#include "family.hpp"

namespace kedge::llm::known {

extern family const granite{
    .names = {"granite", "GraniteForCausalLM"},
    .sizes = {.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .multipliers = true,
};

}  // namespace kedge::llm::known
