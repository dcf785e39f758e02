// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // int32_t
#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

/// A completion by itself, and whether it is one to learn or one to avoid: {"prompt", "completion", "label"}, both texts or both messages.
struct unpaired_example {
  nlohmann::ordered_json prompt, completion;
  bool desirable = true;
  std::size_t line = 0;          ///< in its file, from 1
  nlohmann::ordered_json extra;  ///< the line's other keys
  std::string place;             ///< "'FILE':LINE", for messages
};

/// The same as tokens; the completion goes on where the prompt ends, and isn't cut.
struct unpaired_ids {
  std::vector<std::int32_t> prompt, completion;
  bool desirable = true;
  std::size_t line = 0;
};

/// A line of a file: one completion with its label; or a preference pair, of which it makes two, the chosen one first.
struct unpaired_line {
  std::vector<unpaired_example> examples;
  std::string place;
  oddities odd;
};

/// A label is true or false, or 1 or 0.
/// throws  kedge::llm::error with the reason why a line won't do, without its place
[[nodiscard]] unpaired_line parse_unpaired(json_line line);

/// Texts to ids as KTOTrainer of TRL 1.16 does it; see pair_encoder for the rules. A completion begins where the ids of the prompt and of prompt +
/// completion part. What is odd about the example is added to `odd`.
/// throws  kedge::llm::error with the example's place
[[nodiscard]] unpaired_ids encode_unpaired(conversation_encoder const& encoder, unpaired_example const& example, oddities& odd);

/// Reads and encodes single completions with TRL's keys, or preference pairs in any format: of every 1000 pairs first the chosen completions, then
/// the rejected ones, as TRL's unpair_preference_dataset has them. All lines of a file are of one kind. how.most bounds the lines.
/// max_length: of a prompt with a completion; what is longer, and will be cut, is told; 0: no limit
/// throws  kedge::llm::error with file, line and reason; with how.skip_bad_lines bad lines are counted in *report instead
[[nodiscard]] std::vector<unpaired_ids> read_unpaired(std::filesystem::path const& path, conversation_encoder const& encoder, reading const& how,
                                                      std::size_t max_length, reading_report* report = nullptr);

}  // namespace kedge::llm
