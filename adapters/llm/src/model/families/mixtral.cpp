// SPDX-License-Identifier: Apache-2.0

// Mixtral: arXiv 2401.04088.

#include "family.hpp"

namespace kedge::llm::known {

extern family const mixtral{
    .names = {"mixtral", "MixtralForCausalLM", "MixtralForSequenceClassification"},
    .sizes = {.vocabulary = 32000,
              .hidden = 4096,
              .intermediate = 14336,
              .layers = 32,
              .heads = 32,
              .kv_heads = 8,
              .positions = 131072},
    .eps = 1e-5,
    .window = windows::every_layer,
    .experts = {.count = 8, .chosen = 2, .names = expert_names::w1_w3_w2},
};

}  // namespace kedge::llm::known
