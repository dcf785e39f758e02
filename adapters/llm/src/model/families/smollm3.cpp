// SPDX-License-Identifier: Apache-2.0

// SmolLM3: Llama with layers that do not turn.

#include "llama.hpp"

namespace kedge::llm::known {

extern family const smollm3{
    .names = {"smollm3", "SmolLM3ForCausalLM", "SmolLM3ForSequenceClassification"},
    .gguf = {.architecture = "smollm3", .paired_rows = true, .complete = complete_llama},
    .tied = true,
    .shares_heads = true,
    .max_positions = 32768,
    .theta = 2e6,
    .window = windows::where_still,
    .lists_layers = true,
    .window_switch = true,
    .attention_bias = true,
    .mlp_bias = true,
    .rope_switches = true,
};

}  // namespace kedge::llm::known
