// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "family.hpp"

namespace kedge::llm::known {

/// What config.json of Llama's kin has beside the usual: GGUF shows biases by
/// their tensors.
void complete_llama(gguf_keys const& file, nlohmann::ordered_json& config);

/// The same of Granite's kin, which has multipliers.
void complete_granite(gguf_keys const& file, nlohmann::ordered_json& config);

}  // namespace kedge::llm::known
