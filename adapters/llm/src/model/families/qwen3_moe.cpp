// SPDX-License-Identifier: Apache-2.0

// Qwen 3 with experts: arXiv 2505.09388.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_gate_inp", "mlp.gate"},
                               {"ffn_gate_exps", "mlp.experts.*.gate_proj"},
                               {"ffn_up_exps", "mlp.experts.*.up_proj"},
                               {"ffn_down_exps", "mlp.experts.*.down_proj"}};

// llama.cpp takes the probabilities of those chosen to sum to one, as in the released models. A layer without experts shows by its tensors.
void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
  config["norm_topk_prob"] = true;
  config["mlp_only_layers"] = nlohmann::ordered_json::array();
  for (std::int64_t i = 0; i < config["num_hidden_layers"]; ++i)
    if (file.has_tensor("blk." + std::to_string(i) + ".ffn_gate.weight")) config["mlp_only_layers"].push_back(i);
}

}  // namespace

extern family const qwen3_moe{
    .names = {"qwen3_moe", "Qwen3MoeForCausalLM", "Qwen3MoeForSequenceClassification"},
    .gguf = {.architecture = "qwen3moe", .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 151936,
              .hidden = 2048,
              .intermediate = 6144,
              .layers = 24,
              .heads = 32,
              .kv_heads = 4,
              .positions = 32768},
    .window = windows::every_layer,
    .default_window = 4096,
    .window_switch = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .qk_norms = query_key_norms::by_head,
    .experts = {.count = 128,
                .chosen = 8,
                .size_key = "moe_intermediate_size",
                .intermediate = 768,
                .normalised = false,
                .normalises_by_key = true,
                .dense_layers = true},
};

}  // namespace kedge::llm::known
