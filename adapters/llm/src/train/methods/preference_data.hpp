// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/train/preference.hpp>

#include "../preference_problem.hpp"
#include "../session.hpp"

namespace kedge::llm {

/// How easy each pair is; larger is easier.
using difficulty_score = std::function<std::vector<double>(std::vector<preference_pair> const&)>;

/// Cuts one data set into `chunks` rounds of nearly equal size, in the given order, from easy to hard, from hard to easy
/// or at random. `easiness` is asked only if the order needs it.
/// throws  error if there are fewer pairs than chunks
[[nodiscard]] std::vector<std::vector<preference_pair>> cut_into_rounds(std::vector<preference_pair> pairs, std::size_t chunks,
                                                                       chunk_order order, std::uint64_t seed,
                                                                       difficulty_score const& easiness);

/// Score gap of the data: what the judge thought. throws  error if a pair has no scores
[[nodiscard]] double score_gap(preference_pair const& pair);
[[nodiscard]] std::vector<double> score_gaps(std::vector<preference_pair> const& pairs);

/// The pairs of a run that trains on files.
struct pair_files {
  std::vector<std::vector<preference_pair>> training;  ///< one list a file
  std::vector<preference_pair> held_out;
};

/// Reads what the settings name.
/// throws  error naming a file that has no pair left, or a line
[[nodiscard]] pair_files read_pair_files(session const& opened, training_settings const& settings);

/// A round a file, or one file cut into chunks. `margins_of_start`: log-probability margins under the start, asked where they decide the order.
/// throws  error where the loss reads scores that the data don't have
[[nodiscard]] std::vector<round_pairs> rounds_of(std::vector<std::vector<preference_pair>> files, round_settings const& rounds, std::uint64_t seed, bool loss_reads_scores,
                                                difficulty_score const& margins_of_start);

}  // namespace kedge::llm
