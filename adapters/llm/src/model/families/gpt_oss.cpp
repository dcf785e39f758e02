// SPDX-License-Identifier: Apache-2.0

// gpt-oss: arXiv 2508.10925. A head's attention may go to nothing, and every other layer has a window.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"attn_sinks", "self_attn.sinks"},
                               {"ffn_gate_inp", "mlp.router"},
                               {"ffn_gate_exps", "mlp.experts.gate_up_proj"},
                               {"ffn_up_exps", "mlp.experts.gate_up_proj"},
                               {"ffn_down_exps", "mlp.experts.down_proj"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
  if (auto const window = file.integer("attention.sliding_window")) config["sliding_window"] = *window;
  if (config["rope_parameters"]["rope_type"] == "yarn") config["rope_parameters"]["truncate"] = false;
}

}  // namespace

extern family const gpt_oss{
    .names = {"gpt_oss", "GptOssForCausalLM", "GptOssForSequenceClassification"},
    .gguf = {.architecture = "gpt-oss", .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 201088,
              .hidden = 2880,
              .intermediate = 2880,
              .layers = 36,
              .heads = 64,
              .kv_heads = 8,
              .head_dim = 64,
              .positions = 131072},
    .eps = 1e-5,
    .theta = 150000,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 128,
    .window_period = 2,
    .rope_defaults = R"({"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
                         "original_max_position_embeddings": 4096})",
    .attention_bias = bias_key::on,
    .output_bias = bias_key::as_attention,
    .sinks = true,
    .experts = {.count = 128, .chosen = 4, .biases = true, .clamped = true, .names = expert_names::transposed},
};

}  // namespace kedge::llm::known
