// SPDX-License-Identifier: Apache-2.0

// OLMoE: arXiv 2409.02060.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_gate_inp", "mlp.gate"},
                               {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
                               {"ffn_up_exps", "mlp.experts.*.up_proj"},
                               {"ffn_down_exps", "mlp.experts.*.down_proj"}};

// llama.cpp takes the probabilities as they are, as in the released models.
void complete(gguf_keys const&, nlohmann::ordered_json& config) { config["norm_topk_prob"] = false; }

}  // namespace

extern family const olmoe{
    .names = {"olmoe", "OlmoeForCausalLM"},
    .gguf = {.architecture = "olmoe", .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 50304, .hidden = 2048, .intermediate = 2048, .layers = 16, .heads = 16, .positions = 4096},
    .eps = 1e-5,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::over_heads,
    .experts = {.count = 64, .chosen = 8, .normalised = false, .normalises_by_key = true, .aux_loss = 0.01},
};

}  // namespace kedge::llm::known
