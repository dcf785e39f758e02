// SPDX-License-Identifier: Apache-2.0

// Helium: Llama with neighbours that turn.

#include "family.hpp"

namespace kedge::llm::known {

extern family const helium{
    .names = {"helium", "HeliumForCausalLM", "HeliumForSequenceClassification"},
    .sizes = {.vocabulary = 48000,
              .hidden = 2560,
              .intermediate = 7040,
              .layers = 24,
              .heads = 20,
              .kv_heads = 20,
              .head_dim = 128,
              .positions = 4096},
    .eps = 1e-8,
    .theta = 100000,
    .interleaved_rope = true,
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
};

}  // namespace kedge::llm::known
