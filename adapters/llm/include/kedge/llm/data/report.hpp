// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/data/prompts.hpp>

namespace kedge::llm {

/// Spread of some lengths. Quantiles are elements of the sample (nearest rank); zeros for an empty one.
struct length_summary {
  std::size_t least = 0, median = 0, percentile_95 = 0, most = 0;
  double mean = 0;
  std::vector<std::size_t> histogram;  ///< [k]: how many lie in [2^(k−1), 2^k); [0]: how many are 0
};

length_summary summarise_lengths(std::vector<std::size_t> lengths);

/// Lengths of one part of all examples: the prompts, the chosen completions, …
struct part_report {
  std::string name;
  length_summary characters;  ///< Unicode characters of the text, or of all messages' contents
  length_summary tokens;      ///< zeros without a tokenizer
};

/// What a data set looks like, and which lines deserve a second look.
struct data_report {
  data_kind kind = data_kind::pairs;
  std::size_t examples = 0, conversations = 0, with_system = 0, several_turns = 0, with_scores = 0;
  std::size_t prompts = 0;               ///< different ones
  std::size_t chosen_longer = 0;         ///< pairs whose chosen has more characters than rejected
  std::vector<std::size_t> repeated;     ///< lines of which everything that counts has occurred before
  std::vector<std::size_t> identical;    ///< lines whose chosen equals rejected
  std::vector<std::size_t> empty;        ///< lines with a completion (or a lone prompt) of white space only
  std::vector<std::size_t> reversed;     ///< lines whose score_chosen is below score_rejected
  std::vector<part_report> parts;        ///< prompt, chosen, rejected | prompt, completion | prompt
  bool has_tokens = false;
  std::size_t truncated = 0;             ///< examples cut at max_length
  std::size_t dropped = 0;               ///< examples whose prompt ends in tokens that change before a completion
  std::size_t bad = 0;                   ///< lines that can't be used
  std::vector<std::string> bad_reasons;  ///< of the first ten
  std::vector<std::string> notes;        ///< what the lines were taken for, and what is odd about some; see reading_report
};

/// How report_on_file encodes; without `templating` messages are refused, see conversation_encoder.
struct report_tokens {
  tokenizer const& words;
  chat_template const* templating = nullptr;
  nlohmann::ordered_json variables;
  std::size_t max_length = 0;  ///< 0: no limit
};

/// Reads a data set once and looks at every line; bad ones are counted, not fatal. What it is made of is known by the keys of its first line.
/// `tokens` may be null; otherwise lengths in tokens and truncations are counted, and lines that can't be encoded are bad.
/// cost    memory of about 150 bytes an example, whatever its length: repetitions are found by hashes of 64 bits
/// throws  kedge::llm::error if the file cannot be read or has no usable line
data_report report_on_file(std::filesystem::path const& path, report_tokens const* tokens = nullptr, reading how = {});

/// The report as JSON, members named as above; `parts` by their names.
nlohmann::ordered_json to_json(data_report const& report);

}  // namespace kedge::llm
