// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>    // array
#include <cstddef>  // size_t
#include <cstdint>  // int64_t
#include <string>   // string
#include <vector>   // vector

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// How the lines of a data set are written. Each shape but TRL's own is a file of src/data/schemas/, which says what becomes of its keys.
enum class data_format {
  automatic,
  trl,
  ultrafeedback,
  orca,
  hh,
  nectar,
  helpsteer2,
  shp,
  pku,
  arena,
  sharegpt,
  alpaca,
  capybara,
  summaries
};
constexpr auto names(data_format) {
  using f = data_format;
  return std::array{
      named{f::automatic, "auto", "by the keys of the first line, where they leave no choice"},
      named{f::trl, "trl", "TRL's keys, as they stand"},
      named{f::ultrafeedback, "ultrafeedback",
            "UltraFeedback: binarized, a text beside conversations; or completions with ratings"},
      named{f::orca, "orca", "Orca pairs: system, question (or input), chosen, rejected"},
      named{f::hh, "hh", "HH-RLHF: transcripts with Human: and Assistant:"},
      named{f::nectar, "nectar", "Nectar: a transcript and ranked answers"},
      named{f::helpsteer2, "helpsteer2", "HelpSteer2: rated responses, those of a prompt in a row; or response_1, response_2"},
      named{f::shp, "shp", "SHP: history, human_ref_A, human_ref_B, labels"},
      named{f::pku, "pku", "PKU-SafeRLHF: response_0, response_1, better_response_id"},
      named{f::arena, "arena", "LMArena: conversation_a, conversation_b, winner; ties are left out"},
      named{f::sharegpt, "sharegpt", "ShareGPT: messages with from and value"},
      named{f::alpaca, "alpaca", "Alpaca: instruction, input, output"},
      named{f::capybara, "capybara", "Capybara: turns with input and output"},
      named{f::summaries, "summaries", "summaries of a post, and which is the better one"}};
}

/// Which completions of a prompt, ranked or rated, make pairs. Equal ones never do.
enum class ranked_pairs { best_worst, adjacent, all };
constexpr auto names(ranked_pairs) {
  return std::array{named{ranked_pairs::best_worst, "best-worst", "the best with the worst"},
                    named{ranked_pairs::adjacent, "adjacent", "each with the next one down"},
                    named{ranked_pairs::all, "all", "each with every worse one"}};
}

/// Which end of a sequence stays where it is longer than max_length. Names are TRL's.
enum class truncation_mode { keep_start, keep_end };
constexpr auto names(truncation_mode) {
  return std::array{named{truncation_mode::keep_start, "keep_start"}, named{truncation_mode::keep_end, "keep_end"}};
}

/// What the lines of a data set become.
enum class data_kind { pairs, demonstrations, prompts };
constexpr auto names(data_kind) {
  return std::array{named{data_kind::pairs, "pairs"}, named{data_kind::demonstrations, "demonstrations"},
                    named{data_kind::prompts, "prompts"}};
}

/// How a data set is read.
struct reading {
  data_format format = data_format::automatic;
  ranked_pairs pairs = ranked_pairs::best_worst;
  std::size_t most = 0;         ///< examples, after which nothing more is read; 0: all
  bool skip_bad_lines = false;  ///< lines that won't do are counted and left out
  std::int64_t positions = 0;   ///< of the model: longer examples are told; 0: not looked at
  unsigned threads = 0;         ///< that encode; 0: all processors
};

/// What is odd about an example without making it unusable.
enum class oddity {
  empty_prompt,
  repeated_prompt,
  dropped_prompt,
  cut,
  same_completions,
  beyond_positions,
  ends_with_other,
  score_is_no_number,
  margin_is_no_number,
  unread_label,
  lost_thinking
};
constexpr auto names(oddity) {
  using o = oddity;
  return std::array{
      named{o::empty_prompt, "empty prompt", "the prompt has no tokens; does the question stand under another key?"},
      named{o::repeated_prompt, "repeated prompt", "a completion begins with the prompt once more"},
      named{o::dropped_prompt, "dropped prompt",
            "the end of the prompt becomes other tokens before a completion, and is left out"},
      named{o::cut, "cut", "cut, being longer than max_length"},
      named{o::same_completions, "same completions", "chosen equals rejected, of which nothing is learned"},
      named{o::beyond_positions, "beyond positions", "more tokens than the model has positions"},
      named{o::ends_with_other, "ends with another role",
            "a completion ends with another role than the assistant's, and that is learned too"},
      named{o::score_is_no_number, "score is no number", "a score is no number, and is not read"},
      named{o::margin_is_no_number, "margin is no number", "the margin is no number, and is not read"},
      named{o::unread_label, "unread label", "the label is not read: what it calls bad is learned all the same"},
      named{o::lost_thinking, "lost thinking", "the chat template leaves out thinking of a completion"}};
}

/// The oddities of an example.
class oddities {
 public:
  void add(oddity one) { bits_ |= bit(one); }
  void add(oddities other) { bits_ |= other.bits_; }
  void remove(oddity one) { bits_ &= ~bit(one); }
  [[nodiscard]] bool has(oddity one) const { return (bits_ & bit(one)) != 0; }
  [[nodiscard]] bool any() const { return bits_ != 0; }

 private:
  static std::uint32_t bit(oddity one) { return std::uint32_t{1} << static_cast<unsigned>(one); }
  std::uint32_t bits_ = 0;
};

/// What reading told, to be passed on to whoever started it.
struct reading_report {
  std::size_t skipped = 0;  ///< bad lines that were left out
  std::vector<std::string>
      notes;  ///< a line each: what the format was taken for, how many examples are odd and where the first one is
};

}  // namespace kedge::llm
