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

/// One example of supervised fine-tuning: {"prompt", "completion"}, or {"messages"} or {"text"} as a whole.
struct demonstration {
  nlohmann::ordered_json prompt;      ///< null where the whole example is learned
  nlohmann::ordered_json completion;  ///< text or messages
  std::size_t line = 0;
  nlohmann::ordered_json extra;
  std::string place;      ///< "'FILE':LINE", for messages
  std::size_t index = 0;  ///< among those read, from 0
  oddities odd;
};

/// Reads JSONL with TRL's keys. A key "system" is the system message of a conversation; texts become messages then.
/// throws  kedge::llm::error with file, line and reason; with skip_bad_lines bad lines are counted in *skipped instead
std::vector<demonstration> read_demonstrations(std::filesystem::path const& path, bool skip_bad_lines,
                                               std::size_t* skipped = nullptr);

/// Tokens that stand in a row: [begin, end).
struct token_run {
  std::size_t begin = 0, end = 0;
  friend bool operator==(token_run const&, token_run const&) = default;
};

/// A demonstration as tokens.
struct demonstration_ids {
  std::vector<std::int32_t> tokens;
  std::size_t learned_from = 0;    ///< index of the first token that enters the loss
  std::vector<token_run> learned;  ///< runs of tokens, from learned_from on, that enter the loss; empty: all do
  std::size_t index = 0;           ///< among those read, from 0
  oddities odd;
  std::size_t line = 0;
  std::size_t dropped_prompt_tokens = 0;
  bool truncated = false;
};

/// What is learned of a demonstration.
struct demonstration_rules {
  std::size_t max_length = 0;  ///< 0: no limit
  truncation_mode truncation = truncation_mode::keep_start;
  bool completion_only = true;  ///< where there is a prompt, it is not learned
  /// Of conversations the assistant's turns alone are learned: what the template's generation blocks hold; without such blocks, what a
  /// message of the assistant adds to the conversation so far with its generation prompt.
  bool assistant_only = false;
};

/// Texts to ids as SFTTrainer of TRL 1.16 does it; see pair_encoder for the rules.
/// throws  kedge::llm::error with the example's place, also if max_length leaves nothing to learn
demonstration_ids encode_demonstration(conversation_encoder const& encoder, demonstration const& example,
                                       demonstration_rules const& rules);

/// Reads and encodes in blocks; errors, limits and what is told as in read_pairs.
std::vector<demonstration_ids> read_encoded_demonstrations(std::filesystem::path const& path,
                                                           conversation_encoder const& encoder,
                                                           demonstration_rules const& rules, reading const& how = {},
                                                           reading_report* report = nullptr);

}  // namespace kedge::llm
