// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t
#include <span>     // span
#include <vector>   // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/preferences.hpp>

namespace kedge::llm {

/// Spread of some lengths. Quantiles are elements of the sample (nearest rank); zeros for an empty one.
struct length_summary {
  std::size_t least = 0, median = 0, percentile_95 = 0, most = 0;
  double mean = 0;
  std::vector<std::size_t> histogram;  ///< [k]: how many lie in [2^(k−1), 2^k); [0]: how many are 0
};

length_summary summarise_lengths(std::vector<std::size_t> lengths);

/// What a data set of pairs looks like, and which lines deserve a second look.
struct preference_report {
  std::size_t pairs = 0, conversations = 0, with_system = 0, several_turns = 0, with_scores = 0;
  std::size_t prompts = 0;                  ///< different ones
  std::vector<std::size_t> repeated;        ///< lines whose prompt, chosen and rejected have occurred before
  std::vector<std::size_t> identical;       ///< lines whose chosen equals rejected
  std::vector<std::size_t> empty;           ///< lines with a completion of white space only
  std::vector<std::size_t> reversed;        ///< lines whose score_chosen is below score_rejected
  length_summary prompt, chosen, rejected;  ///< tokens, where encoded pairs are given
  std::size_t truncated = 0;                ///< pairs cut at max_length
};

/// `encoded` may be empty; otherwise it holds the encoded examples.
preference_report report_on(std::span<preference_example const> examples, std::span<preference_pair const> encoded);

/// The report as JSON, members named as above.
nlohmann::ordered_json to_json(preference_report const& report);

}  // namespace kedge::llm
