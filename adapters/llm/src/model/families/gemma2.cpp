// SPDX-License-Identifier: Apache-2.0

// Gemma 2: arXiv 2408.00118.

#include "gemma.hpp"

namespace kedge::llm::known {

namespace {

constexpr gguf_part parts[] = {{"ffn_norm", "pre_feedforward_layernorm"}};

void complete(gguf_keys const& file, nlohmann::ordered_json& config) { complete_gemma(file, config, 46); }

}  // namespace

extern family const gemma2 = gemma2_with({"gemma2", "Gemma2ForCausalLM", "Gemma2ForSequenceClassification"},
                                         {.architecture = "gemma2",
                                          .norms_plus_one = true,
                                          .states_windows = true,
                                          .written = true,
                                          .parts = parts,
                                          .complete = complete},
                                         {.after_attention = "post_attention_layernorm",
                                          .before_mlp = "pre_feedforward_layernorm",
                                          .after_mlp = "post_feedforward_layernorm"});

}  // namespace kedge::llm::known
