// SPDX-License-Identifier: Apache-2.0

// SmolLM3: Llama with layers that do not turn.

#include "llama.hpp"

namespace kedge::llm::known {

extern family const smollm3{
    .names = {"smollm3", "SmolLM3ForCausalLM", "SmolLM3ForSequenceClassification"},
    .gguf = {.architecture = "smollm3", .paired_rows = true, .written = true, .complete = complete_llama},
    .sizes = {.vocabulary = 128256,
              .hidden = 2048,
              .intermediate = 11008,
              .layers = 36,
              .heads = 16,
              .kv_heads = 4,
              .positions = 32768},
    .tied = true,
    .theta = 2e6,
    .window = windows::where_still,
    .lists_layers = true,
    .window_switch = true,
    .rope_switches = true,
    .attention_bias = bias_key::off,
    .mlp_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
};

}  // namespace kedge::llm::known
