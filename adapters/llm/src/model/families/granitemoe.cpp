// SPDX-License-Identifier: Apache-2.0

// Granite with experts.

#include "family.hpp"

namespace kedge::llm::known {

extern family const granitemoe{
    .names = {"granitemoe", "GraniteMoeForCausalLM"},
    .sizes = {.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .multipliers = true,
    .experts = {.count = 8, .chosen = 2, .names = expert_names::stacked},
};

}  // namespace kedge::llm::known
