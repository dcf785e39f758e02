// SPDX-License-Identifier: Apache-2.0

// Nemotron 3 and 4, Minitron: arXiv 2402.16819.

#include "family.hpp"

namespace kedge::llm::known {

extern family const nemotron{
    .names = {"nemotron", "NemotronForCausalLM", "NemotronForSequenceClassification"},
    .sizes = {.vocabulary = 256000, .hidden = 6144, .intermediate = 24576, .layers = 32, .heads = 48, .positions = 4096},
    .act = activation::relu2,
    .eps = 1e-5,
    .rotary_share = 0.5,
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .norms_less_one = true,
    .norm = norm_kind::layer,
    .eps_key = "norm_eps",
    .norm_bias = true,
    .gated = false,
};

}  // namespace kedge::llm::known
