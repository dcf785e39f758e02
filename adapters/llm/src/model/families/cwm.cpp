// SPDX-License-Identifier: Apache-2.0

// Code World Model: Llama with windows in three layers of four.

#include "family.hpp"

namespace kedge::llm::known {

extern family const cwm{
    .names = {"cwm", "CwmForCausalLM"},
    .sizes = {.vocabulary = 128256,
              .hidden = 6144,
              .intermediate = 21504,
              .layers = 64,
              .heads = 48,
              .kv_heads = 8,
              .head_dim = 128,
              .positions = 131072},
    .eps = 1e-5,
    .theta = 1000000,
    .window = windows::all_but_first_of_every,
    .lists_layers = true,
    .default_window = 8192,
    .window_period = 4,
    .rope_defaults = R"({"rope_type": "llama3", "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192})",
};

}  // namespace kedge::llm::known
