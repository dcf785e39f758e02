// SPDX-License-Identifier: Apache-2.0

// StableLM: arXiv 2402.17834.

#include "family.hpp"

namespace kedge::llm::known {

extern family const stablelm{
    .names = {"stablelm", "StableLmForCausalLM", "StableLmForSequenceClassification"},
    .sizes = {.vocabulary = 50304,
              .hidden = 2560,
              .intermediate = 6912,
              .layers = 32,
              .heads = 32,
              .kv_heads = 32,
              .positions = 4096},
    .eps = 1e-5,
    .rotary_share = 0.25,
    .qkv_bias_key = "use_qkv_bias",
    .norm = norm_kind::layer,
    .eps_key = "layer_norm_eps",
    .norm_bias = true,
    .parallel_key = "use_parallel_residual",
};

}  // namespace kedge::llm::known
