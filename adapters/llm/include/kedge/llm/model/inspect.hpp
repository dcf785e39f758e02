// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include <kedge/llm/files/checkpoint.hpp>

namespace kedge::llm {

/// What a checkpoint is: path, family, shapes, parameters, stored types, tokenizer, chat template, and a list "problems" of
/// sentences, empty if kedge can train it. Reads headers only, no weights.
[[nodiscard]] nlohmann::ordered_json describe(checkpoint const& source);

}  // namespace kedge::llm
