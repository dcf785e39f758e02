// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include "tokenizer_class.hpp"

namespace kedge::llm {

/// Adds to a tokenizer_config the arguments that a class has by itself: its bos_token, unk_token and so on, where the key is absent.
/// A key that is null stays null.
void put_class_defaults(tokenizer_class kind, nlohmann::ordered_json& tokenizer_config);

/// tokenizer.json as a class other than the backend builds it around a vocabulary (an object of ids) and merges. It has no added tokens and
/// no post-processor yet.
/// throws  kedge::llm::error naming an argument of the wrong kind
nlohmann::ordered_json pipeline_of(tokenizer_class kind, nlohmann::ordered_json const& tokenizer_config, nlohmann::ordered_json vocab,
                                   nlohmann::ordered_json merges);

}  // namespace kedge::llm
