// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // int32_t
#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

/// What a model is asked to go on from: a text or a list of messages.
struct prompt_example {
  nlohmann::ordered_json prompt;
  std::size_t line = 0;
  nlohmann::ordered_json extra;  ///< the line's other keys
  std::string place;             ///< "'FILE':LINE", for messages
  std::size_t index = 0;         ///< among those read, from 0
};

/// Reads the key "prompt" of JSONL lines; other keys (chosen, rejected, …) are kept in `extra`, so a file of pairs will do.
/// A key "system" is the system message; a text prompt becomes a message of the user then.
/// throws  kedge::llm::error with file, line and reason; with skip_bad_lines bad lines are counted in *skipped instead
std::vector<prompt_example> read_prompts(std::filesystem::path const& path, bool skip_bad_lines,
                                         std::size_t* skipped = nullptr);

/// A prompt as the tokens that generation starts from.
struct encoded_prompt {
  prompt_example example;
  std::vector<std::int32_t> ids;
};

/// Reads and encodes prompts; errors, limits and what is told as in read_pairs.
/// how.positions: prompts as long as that leave no room for an answer, and are refused
std::vector<encoded_prompt> read_encoded_prompts(std::filesystem::path const& path, conversation_encoder const& encoder,
                                                 reading const& how = {}, reading_report* report = nullptr);

/// Ids that generation starts from: messages with the generation prompt, texts with the tokenizer's special tokens.
/// throws  kedge::llm::error with the example's place
std::vector<std::int32_t> encode_prompt(conversation_encoder const& encoder, prompt_example const& example);

}  // namespace kedge::llm
