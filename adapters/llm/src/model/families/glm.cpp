// SPDX-License-Identifier: Apache-2.0

// GLM-4 of 2024: arXiv 2406.12793.

#include "glm.hpp"

namespace kedge::llm::known {

extern family const glm = glm_with({"glm", "GlmForCausalLM", "GlmForSequenceClassification"}, {}, {});

}  // namespace kedge::llm::known
