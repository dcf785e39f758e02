// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // int32_t
#include <filesystem>  // path
#include <span>        // span
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>

namespace kedge::llm {

/// One example of supervised fine-tuning: {"prompt", "completion"}, or {"messages"} or {"text"} as a whole.
struct demonstration {
  nlohmann::ordered_json prompt;      ///< null where the whole example is learned
  nlohmann::ordered_json completion;  ///< text or messages
  std::size_t line = 0;
  nlohmann::ordered_json extra;
  std::string place;  ///< "'FILE':LINE", for messages
};

/// Reads JSONL with TRL's keys. A key "system" is the system message of a conversation; texts become messages then.
/// throws  kedge::llm::error with file, line and reason; with skip_bad_lines bad lines are counted in *skipped instead
std::vector<demonstration> read_demonstrations(std::filesystem::path const& path, bool skip_bad_lines,
                                               std::size_t* skipped = nullptr);

/// A demonstration as tokens.
struct demonstration_ids {
  std::vector<std::int32_t> tokens;
  std::size_t learned_from = 0;  ///< index of the first token that enters the loss
  std::size_t line = 0;
  std::size_t dropped_prompt_tokens = 0;
  bool truncated = false;
};

/// Texts to ids as SFTTrainer of TRL 1.16 does it, with its loss on completions only; see pair_encoder for the rules.
/// throws  kedge::llm::error with the example's place, also if max_length (0: none) leaves nothing to learn
demonstration_ids encode_demonstration(conversation_encoder const& encoder, demonstration const& example,
                                       std::size_t max_length);

/// Encodes many examples on all processors (or `threads`), order kept; errors as in encode_preferences.
std::vector<demonstration_ids> encode_demonstrations(conversation_encoder const& encoder,
                                                     std::span<demonstration const> examples, std::size_t max_length,
                                                     bool skip_bad_lines = false, std::size_t* skipped = nullptr,
                                                     unsigned threads = 0);

}  // namespace kedge::llm
