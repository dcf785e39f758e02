// SPDX-License-Identifier: Apache-2.0

// OLMoE: arXiv 2409.02060.

#include "family.hpp"

namespace kedge::llm::known {

extern family const olmoe{
    .names = {"olmoe", "OlmoeForCausalLM"},
    .sizes = {.vocabulary = 50304, .hidden = 2048, .intermediate = 2048, .layers = 16, .heads = 16, .positions = 4096},
    .eps = 1e-5,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::over_heads,
    .experts = {.count = 64, .chosen = 8, .normalised = false, .normalises_by_key = true},
};

}  // namespace kedge::llm::known
