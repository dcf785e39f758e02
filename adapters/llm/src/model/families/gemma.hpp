// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "family.hpp"

namespace kedge::llm::known {

/// What config.json of Gemma 2 and 3 has beside the usual. GGUF doesn't state
/// how scores are scaled: models of `largest` layers divide them by √(hidden /
/// heads), all others by that of a head's size.
void complete_gemma(gguf_keys const& file, nlohmann::ordered_json& config, std::int64_t largest);

/// Gemma 2, and models that differ from it in what is given here.
constexpr family gemma2_with(family_names names, gguf_facts gguf, layer_norms norms) {
  return {
      .names = names,
      .gguf = gguf,
      .sizes = {.vocabulary = 256000,
                .hidden = 2304,
                .intermediate = 9216,
                .layers = 26,
                .heads = 8,
                .kv_heads = 4,
                .head_dim = 256,
                .positions = 8192},
      .act_key = "hidden_activation",
      .act = activation::gelu_tanh,
      .tied = true,
      .window = windows::all_but_every,
      .lists_layers = true,
      .default_window = 4096,
      .window_period = 2,
      .attention_bias = bias_key::off,
      .output_bias = bias_key::as_attention,
      .gemma = true,
      .attention_cap = 50,
      .logit_cap = 30,
      .attention_caps = true,
      .logit_caps = true,
      .query_scalar = true,
      .norms = norms,
  };
}

}  // namespace kedge::llm::known
