// SPDX-License-Identifier: Apache-2.0

// ERNIE 4.5 without experts: Llama with neighbours that turn.

#include "family.hpp"

namespace kedge::llm::known {

extern family const ernie4_5{
    .names = {"ernie4_5", "Ernie4_5ForCausalLM"},
    .sizes = {.vocabulary = 103424,
              .hidden = 1024,
              .intermediate = 3072,
              .layers = 18,
              .heads = 16,
              .kv_heads = 2,
              .head_dim = 128,
              .positions = 131072},
    .tied = true,
    .eps = 1e-5,
    .theta = 500000,
    .interleaved_rope = true,
    .bias_everywhere = "use_bias",
};

}  // namespace kedge::llm::known
