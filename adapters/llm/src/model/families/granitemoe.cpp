// SPDX-License-Identifier: Apache-2.0

// Granite with experts.

#include "llama.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_gate_inp", "block_sparse_moe.router.layer"},
                               {"ffn_gate_exps", "block_sparse_moe.input_linear"},
                               {"ffn_up_exps", "block_sparse_moe.input_linear"},
                               {"ffn_down_exps", "block_sparse_moe.output_linear"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  complete_granite(file, config);
  config.erase("mlp_bias");
}

}  // namespace

extern family const granitemoe{
    .names = {"granitemoe", "GraniteMoeForCausalLM"},
    .gguf = {.architecture = "granitemoe", .paired_rows = true, .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 32000, .hidden = 4096, .intermediate = 11008, .layers = 32, .heads = 32, .positions = 2048},
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .multipliers = true,
    .experts = {.count = 8, .chosen = 2, .names = expert_names::stacked},
};

}  // namespace kedge::llm::known
