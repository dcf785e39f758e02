// SPDX-License-Identifier: Apache-2.0

// Ministral: Mistral whose config lists the layers with a window.

#include "family.hpp"

namespace kedge::llm::known {

extern family const ministral{
    .names = {"ministral", "MinistralForCausalLM", "MinistralForSequenceClassification"},
    .sizes = {.vocabulary = 32000,
              .hidden = 4096,
              .intermediate = 14336,
              .layers = 32,
              .heads = 32,
              .kv_heads = 8,
              .positions = 131072},
    .window = windows::every_layer,
    .lists_layers = true,
    .default_window = 4096,
};

}  // namespace kedge::llm::known
