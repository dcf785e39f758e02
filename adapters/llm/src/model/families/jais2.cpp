// SPDX-License-Identifier: Apache-2.0

// Jais 2: Llama with layer norms, biases, and an MLP without a gate.

#include "family.hpp"

namespace kedge::llm::known {

extern family const jais2{
    .names = {"jais2", "Jais2ForCausalLM"},
    .sizes = {.vocabulary = 150272, .hidden = 3328, .intermediate = 26624, .layers = 32, .heads = 26, .positions = 8192},
    .act = activation::relu2,
    .eps = 1e-5,
    .attention_bias = bias_key::on,
    .mlp_bias = bias_key::on,
    .output_bias = bias_key::as_attention,
    .norm = norm_kind::layer,
    .eps_key = "layer_norm_eps",
    .norm_bias = true,
    .gated = false,
};

}  // namespace kedge::llm::known
