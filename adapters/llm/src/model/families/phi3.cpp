// SPDX-License-Identifier: Apache-2.0

// Phi-3: arXiv 2404.14219.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_up", "mlp.gate_up_proj"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  if (auto const window = file.integer("attention.sliding_window"))
    config["sliding_window"] = *window > 0 ? nlohmann::ordered_json(*window) : nlohmann::ordered_json(nullptr);
  if (auto const original = file.integer("rope.scaling.original_context_length"))
    config["original_max_position_embeddings"] = *original;
}

}  // namespace

extern family const phi3{
    .names = {"phi3", "Phi3ForCausalLM", "Phi3ForSequenceClassification"},
    .gguf = {.architecture = "phi3", .long_factors = true, .written = true, .parts = parts, .complete = complete},
    .sizes = {.vocabulary = 32064, .hidden = 3072, .intermediate = 8192, .layers = 32, .heads = 32, .positions = 4096},
    .eps = 1e-5,
    .window = windows::every_layer,
    .rotary_share = 1,
    .own_longrope = true,
    .fused_qkv = true,
    .fused_gate_up = true,
};

}  // namespace kedge::llm::known
