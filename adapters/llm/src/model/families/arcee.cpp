// SPDX-License-Identifier: Apache-2.0

// Arcee (AFM): Llama whose MLP has no gate.

#include "family.hpp"

namespace kedge::llm::known {

extern family const arcee{
    .names = {"arcee", "ArceeForCausalLM", "ArceeForSequenceClassification"},
    .sizes = {.vocabulary = 32000, .hidden = 2560, .intermediate = 18432, .layers = 32, .heads = 32, .positions = 4096},
    .act = activation::relu2,
    .eps = 1e-5,
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .gated = false,
};

}  // namespace kedge::llm::known
