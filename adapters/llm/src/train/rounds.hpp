// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/train/settings.hpp>

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
[[nodiscard]] std::vector<double> score_gaps(std::vector<preference_pair> const& pairs);

/// The pairs whose score gap is at least `least`, in order.
[[nodiscard]] std::vector<preference_pair> keep_clear_pairs(std::vector<preference_pair> pairs, double least);

}  // namespace kedge::llm
