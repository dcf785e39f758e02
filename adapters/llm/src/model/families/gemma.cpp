// SPDX-License-Identifier: Apache-2.0

// Gemma: arXiv 2403.08295.

#include "gemma.hpp"

namespace kedge::llm::known {

namespace {

void complete(gguf_keys const&, nlohmann::ordered_json& config) {
  config["attention_bias"] = false;
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config.erase("hidden_act");
}

}  // namespace

void complete_gemma(gguf_keys const& file, nlohmann::ordered_json& config, std::int64_t largest) {
  complete(file, config);
  config["query_pre_attn_scalar"] =
      config["num_hidden_layers"] == largest
          ? config["hidden_size"].get<std::int64_t>() / config["num_attention_heads"].get<std::int64_t>()
          : config["head_dim"].get<std::int64_t>();
  if (auto const window = file.integer("attention.sliding_window")) config["sliding_window"] = *window;
  if (auto const cap = file.real("attn_logit_softcapping")) config["attn_logit_softcapping"] = *cap;
  if (auto const cap = file.real("final_logit_softcapping")) config["final_logit_softcapping"] = *cap;
}

extern family const gemma{
    .names = {"gemma", "GemmaForCausalLM", "GemmaForSequenceClassification"},
    .gguf = {.architecture = "gemma", .norms_plus_one = true, .written = true, .complete = complete},
    .sizes = {.vocabulary = 256000,
              .hidden = 3072,
              .intermediate = 24576,
              .layers = 28,
              .heads = 16,
              .kv_heads = 16,
              .head_dim = 256,
              .positions = 8192},
    .act = activation::gelu_tanh,
    .tied = true,
    .attention_bias = bias_key::off,
    .output_bias = bias_key::as_attention,
    .gemma = true,
    .old_gelu = true,
};

}  // namespace kedge::llm::known
