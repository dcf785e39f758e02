// SPDX-License-Identifier: Apache-2.0

// Mixtral: arXiv 2401.04088.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_gate_inp", "block_sparse_moe.gate"},
                               {"ffn_gate_exps", "block_sparse_moe.experts.*.w1"},
                               {"ffn_up_exps", "block_sparse_moe.experts.*.w3"},
                               {"ffn_down_exps", "block_sparse_moe.experts.*.w2"}};

// Released models have no window, and llama.cpp sees all keys.
void complete(gguf_keys const&, nlohmann::ordered_json& config) { config["sliding_window"] = nullptr; }

}  // namespace

extern family const mixtral{
    .names = {"mixtral", "MixtralForCausalLM", "MixtralForSequenceClassification"},
    .gguf = {.architecture = "llama", .paired_rows = true, .parts = parts, .complete = complete},
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
