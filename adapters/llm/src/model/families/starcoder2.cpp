// SPDX-License-Identifier: Apache-2.0

// StarCoder 2: arXiv 2402.19173.

#include "family.hpp"

namespace kedge::llm::known {

extern family const starcoder2{
    .names = {"starcoder2", "Starcoder2ForCausalLM", "Starcoder2ForSequenceClassification"},
    .sizes = {.vocabulary = 49152,
              .hidden = 3072,
              .intermediate = 12288,
              .layers = 30,
              .heads = 24,
              .kv_heads = 2,
              .positions = 4096},
    .act = activation::gelu_tanh,
    .tied = true,
    .eps = 1e-5,
    .window = windows::every_layer,
    .bias_everywhere = "use_bias",
    .biased_everywhere = true,
    .mlp = {.up = "c_fc", .down = "c_proj"},
    .norm = norm_kind::layer,
    .eps_key = "norm_epsilon",
    .norm_bias = true,
    .gated = false,
};

}  // namespace kedge::llm::known
