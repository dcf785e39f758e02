// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // int32_t
#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>

namespace kedge::llm {

/// What a model is asked to go on from: a text or a list of messages.
struct prompt_example {
  nlohmann::ordered_json prompt;
  std::size_t line = 0;
  nlohmann::ordered_json extra;  ///< the line's other keys
  std::string place;             ///< "'FILE':LINE", for messages
};

/// Reads the key "prompt" of JSONL lines; other keys (chosen, rejected, …) are kept in `extra`, so a file of pairs will do.
/// A key "system" is the system message; a text prompt becomes a message of the user then.
/// throws  kedge::llm::error with file, line and reason; with skip_bad_lines bad lines are counted in *skipped instead
std::vector<prompt_example> read_prompts(std::filesystem::path const& path, bool skip_bad_lines,
                                         std::size_t* skipped = nullptr);

/// Ids that generation starts from: messages with the generation prompt, texts with the tokenizer's special tokens.
/// throws  kedge::llm::error with the example's place
std::vector<std::int32_t> encode_prompt(conversation_encoder const& encoder, prompt_example const& example);

}  // namespace kedge::llm
