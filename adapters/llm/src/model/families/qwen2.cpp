// SPDX-License-Identifier: Apache-2.0

// Qwen 2 and 2.5: arXiv 2407.10671.

#include "family.hpp"

namespace kedge::llm::known {

extern family const qwen2{
    .names = {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"},
    .gguf = {.architecture = "qwen2", .written = true},
    .sizes = {.vocabulary = 151936,
              .hidden = 4096,
              .intermediate = 22016,
              .layers = 32,
              .heads = 32,
              .kv_heads = 32,
              .positions = 32768},
    .window = windows::from_layer,
    .lists_layers = true,
    .default_window = 4096,
    .window_switch = true,
    .qkv_bias = true,
};

}  // namespace kedge::llm::known
