// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>

namespace kedge::llm {

// A line of a file as an example. throws  kedge::llm::error with the reason why it won't do, without its place

preference_example parse_preference(json_line line);
demonstration parse_demonstration(json_line line);
prompt_example parse_prompt(json_line line);

}  // namespace kedge::llm
