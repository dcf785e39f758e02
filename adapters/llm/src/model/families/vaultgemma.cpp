// SPDX-License-Identifier: Apache-2.0

// VaultGemma: Gemma 2 without norms of what attention and MLP give.

#include "gemma.hpp"

namespace kedge::llm::known {

extern family const vaultgemma = gemma2_with({"vaultgemma", "VaultGemmaForCausalLM"}, {}, {.before_mlp = "pre_feedforward_layernorm"});

}  // namespace kedge::llm::known
