// SPDX-License-Identifier: Apache-2.0

// EXAONE 4: arXiv 2507.11407.

#include "family.hpp"

namespace kedge::llm::known {

namespace {

// Which layers have a window, the file says in a list of its own: every fourth has none in all that there are.
void complete(gguf_keys const& file, nlohmann::ordered_json& config) {
  auto const window = file.integer("attention.sliding_window");
  config["sliding_window"] = window ? nlohmann::ordered_json(*window) : nlohmann::ordered_json(nullptr);
  if (window) config["sliding_window_pattern"] = 4;
}

}  // namespace

extern family const exaone4{
    .names = {"exaone4", "Exaone4ForCausalLM", "Exaone4ForSequenceClassification"},
    .gguf = {.architecture = "exaone4", .complete = complete},
    .sizes = {.vocabulary = 102400,
              .hidden = 4096,
              .intermediate = 16384,
              .layers = 32,
              .heads = 32,
              .kv_heads = 32,
              .positions = 2048},
    .eps = 1e-5,
    .window = windows::all_but_every,
    .lists_layers = true,
    .default_window = 4096,
    .window_period = 4,
    .still_globally = true,
    .qk_norms = query_key_norms::by_head,
    .norms = {.before_attention = "",
              .after_attention = "post_attention_layernorm",
              .before_mlp = "",
              .after_mlp = "post_feedforward_layernorm"},
};

}  // namespace kedge::llm::known
