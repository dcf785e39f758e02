// SPDX-License-Identifier: Apache-2.0

// Mistral: arXiv 2310.06825. GGUF files of it are those of Llama.

#include "family.hpp"

namespace kedge::llm::known {

extern family const mistral{
    .names = {"mistral", "MistralForCausalLM", "MistralForSequenceClassification"},
    .sizes = {.vocabulary = 32000,
              .hidden = 4096,
              .intermediate = 14336,
              .layers = 32,
              .heads = 32,
              .kv_heads = 8,
              .positions = 131072},
    .window = windows::every_layer,
    .default_window = 4096,
};

}  // namespace kedge::llm::known
