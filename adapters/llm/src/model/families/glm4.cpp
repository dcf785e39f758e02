// SPDX-License-Identifier: Apache-2.0

// GLM-4 of 2025: norms around attention and MLP, neighbours turn.

#include "glm.hpp"

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

extern family const glm4 = glm_with({"glm4", "Glm4ForCausalLM", "Glm4ForSequenceClassification"},
                                    {.architecture = "glm4", .written = true, .parts = parts, .complete = complete},
                                    {.after_attention = "post_self_attn_layernorm", .after_mlp = "post_mlp_layernorm"});

}  // namespace kedge::llm::known
