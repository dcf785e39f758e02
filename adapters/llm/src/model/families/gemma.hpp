// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "family.hpp"

namespace kedge::llm::known {

/// What config.json of Gemma 2 and 3 has beside the usual. GGUF doesn't state
/// how scores are scaled: models of `largest` layers divide them by √(hidden /
/// heads), all others by that of a head's size.
void complete_gemma(gguf_keys const& file, nlohmann::ordered_json& config, std::int64_t largest);

}  // namespace kedge::llm::known
