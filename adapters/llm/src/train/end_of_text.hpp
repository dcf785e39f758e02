// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "session.hpp"

namespace kedge::llm {

/// --eos_token: texts end with this token from here on, and the model that is written says so. In config.json it is the one that ends a text; in
/// generation_config.json it comes before those that are there. An empty one changes nothing.
/// throws  usage_error: the tokenizer has no such token
void end_texts_with(session& opened, std::string const& token);

}  // namespace kedge::llm
