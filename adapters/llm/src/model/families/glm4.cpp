// SPDX-License-Identifier: Apache-2.0

// GLM-4 of 2025: norms around attention and MLP, neighbours turn.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_up", "mlp.gate_up_proj"},
                               {"post_attention_norm", "post_self_attn_layernorm"},
                               {"post_ffw_norm", "post_mlp_layernorm"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  config["attention_bias"] = file.has_tensor("blk.0.attn_q.bias");
  if (auto const turning = file.integer("rope.dimension_count"))
    config["rope_parameters"]["partial_rotary_factor"] = static_cast<double>(*turning) / config["head_dim"].get<double>();
}

}  // namespace

extern family const glm4{
    .names = {"glm4", "Glm4ForCausalLM", "Glm4ForSequenceClassification"},
    .gguf = {.architecture = "glm4", .written = true, .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 151552,
              .hidden = 4096,
              .intermediate = 13696,
              .layers = 40,
              .heads = 32,
              .kv_heads = 2,
              .head_dim = 128,
              .positions = 131072},
    .eps = 1.5625e-7,
    .interleaved_rope = true,
    .rotary_share = 0.5,
    .attention_bias = bias_key::on,
    .norms = {.after_attention = "post_self_attn_layernorm", .after_mlp = "post_mlp_layernorm"},
    .fused_gate_up = true,
};

}  // namespace kedge::llm::known
