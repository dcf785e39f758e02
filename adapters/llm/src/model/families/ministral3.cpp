// SPDX-License-Identifier: Apache-2.0

// Ministral 3: Mistral whose queries grow with their position.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr char const* rope =
    R"({"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "original_max_position_embeddings": 16384,
  "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1})";

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  nlohmann::ordered_json& own = config["rope_parameters"];
  if (auto const multiplier = file.real("rope.scaling.yarn_log_multiplier"))
    own["mscale"] = own["mscale_all_dim"] = *multiplier;
  if (auto const growth = file.real("attention.temperature_scale")) own["llama_4_scaling_beta"] = *growth;
}

}  // namespace

extern family const ministral3{
    .names = {"ministral3", "Ministral3ForCausalLM", "Ministral3ForSequenceClassification"},
    .gguf = {.architecture = "mistral3", .paired_rows = true, .written = true, .complete = complete},
    .sizes = {.vocabulary = 131072,
              .hidden = 4096,
              .intermediate = 14336,
              .layers = 34,
              .heads = 32,
              .kv_heads = 8,
              .head_dim = 128,
              .positions = 262144},
    .eps = 1e-5,
    .window = windows::every_layer,
    .query_growth = true,
    .rope_defaults = rope,
};

}  // namespace kedge::llm::known
