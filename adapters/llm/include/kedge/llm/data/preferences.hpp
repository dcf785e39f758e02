// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // int32_t
#include <filesystem>  // path
#include <functional>  // function
#include <limits>      // numeric_limits
#include <span>        // span
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/conversation.hpp>
#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

/// A prompt with a better and a worse completion. All three are texts, or all three are lists of messages
/// ({"role": …, "content": …}). The prompt is always explicit here: where a line has none, it is what chosen and rejected begin
/// with alike.
struct preference_example {
  nlohmann::ordered_json prompt, chosen, rejected;
  std::size_t line = 0;          ///< in its file, from 1
  nlohmann::ordered_json extra;  ///< the line's other keys (scores, tools, chat_template_kwargs, …)
  std::string place;             ///< "'FILE':LINE", for messages
  std::size_t index = 0;         ///< among those read, from 0
  oddities odd;
};

/// Reads pairs from JSONL with TRL's keys.
/// An implicit prompt is cut as TRL does: at the first character (message) that differs, before a space in front of it; if
/// none differs, before the last one. (Where nothing is shared, the prompt is empty.) A key "system" is the system message of
/// a conversation; texts become messages of user and assistant then.
/// throws  kedge::llm::error with file, line and reason; with skip_bad_lines bad lines are counted in *skipped instead
std::vector<preference_example> read_preferences(std::filesystem::path const& path, bool skip_bad_lines,
                                                 std::size_t* skipped = nullptr);

/// A pair as token ids; `chosen` and `rejected` go on where `prompt` ends.
struct preference_pair {
  std::vector<std::int32_t> prompt, chosen, rejected;
  std::size_t line = 0;
  double score_chosen = std::numeric_limits<double>::quiet_NaN();  ///< the line's score_chosen, NaN if it has none
  double score_rejected = std::numeric_limits<double>::quiet_NaN();
  double ref_chosen = std::numeric_limits<double>::quiet_NaN();  ///< the line's ref_chosen_logps, NaN if it has none
  double ref_rejected = std::numeric_limits<double>::quiet_NaN();
  double margin = std::numeric_limits<double>::quiet_NaN();  ///< the line's margin: how much better chosen has to be for a reward model
  std::size_t dropped_prompt_tokens = 0;  ///< end of the prompt that tokenises otherwise before a completion; worth one warning
  bool truncated = false;                 ///< a completion, or with keep_end a prompt, was cut at max_length
  /// With keep_end: leading tokens of the prompt that chosen, and rejected, go without. A completion that fills max_length has lost its own
  /// beginning too.
  std::size_t cut_for_chosen = 0, cut_for_rejected = 0;
  std::size_t index = 0;  ///< among those read, from 0
  oddities odd;
};

/// Texts to ids, exactly as DPOTrainer of TRL 1.16 does it:
///   messages   the chat template renders the prompt (with generation prompt) and prompt + completion; ids without added
///   special tokens texts      the tokenizer's end-of-sequence token is appended to the completions unless there; ids with
///   special tokens completion what follows the ids that prompt, prompt + chosen and prompt + rejected all begin with length
///   prompt + completion is cut at max_length, keeping the start or the end
class pair_encoder {
 public:
  /// `templating` may be null for data in plain text; `variables` are the template's (see special_tokens), and hold the
  /// eos_token for plain text; max_length 0: no limit. `templating` has to outlive the encoder.
  pair_encoder(tokenizer const& words, chat_template const* templating, nlohmann::ordered_json variables,
               std::size_t max_length, truncation_mode truncation = truncation_mode::keep_start);

  /// throws  kedge::llm::error with the example's place: no template for messages, no end-of-sequence token for texts, a
  ///         prompt that fills max_length, a completion without tokens
  /// cost    safe to call from several threads
  preference_pair encode(preference_example const& example) const;

 private:
  conversation_encoder encoder_;
  std::size_t max_length_;
  truncation_mode truncation_;
};

struct json_line;
using line_reader = std::function<void(json_line const&)>;

using pair_filter = std::function<bool(preference_pair const&)>;

/// read_preferences and encode_preferences in one: no more than some thousand lines are in memory as text at a time, and none is read
/// after the last pair that is wanted.
/// `look`: is shown every object before it is read, also one that won't do; a pair's `index` says which became a pair
/// `keep`: says of a pair whether it is wanted; empty: all are
/// throws  kedge::llm::error as both do; with skip_bad_lines what one of them would refuse is counted in *report
std::vector<preference_pair> read_pairs(std::filesystem::path const& path, pair_encoder const& encoder, reading const& how = {},
                                        reading_report* report = nullptr, line_reader const& look = {}, pair_filter const& keep = {});

/// Whether the pairs bring their reference's log-probabilities.
/// throws  kedge::llm::error naming a line if some have them and some have none
[[nodiscard]] bool have_reference(std::span<preference_pair const> pairs);

/// Encodes many examples on all processors (or `threads`), order kept.
/// throws  kedge::llm::error of the first example that cannot be encoded; with skip_bad_lines they are counted in *skipped
std::vector<preference_pair> encode_preferences(pair_encoder const& encoder, std::span<preference_example const> examples,
                                                bool skip_bad_lines = false, std::size_t* skipped = nullptr,
                                                unsigned threads = 0);

}  // namespace kedge::llm
