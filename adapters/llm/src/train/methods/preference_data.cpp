// SPDX-License-Identifier: Apache-2.0
#include "preference_data.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <kedge/llm/base/error.hpp>

#include "../../data/shuffle.hpp"

namespace kedge::llm {

double score_gap(preference_pair const& pair) {
  double const gap = pair.score_chosen - pair.score_rejected;
  if (std::isnan(gap))
    throw error("line " + std::to_string(pair.line) + " has no score_chosen and score_rejected; order by --difficulty logp-margin instead");
  return gap;
}

std::vector<double> score_gaps(std::vector<preference_pair> const& pairs) {
  std::vector<double> gaps;
  for (preference_pair const& pair : pairs) gaps.push_back(score_gap(pair));
  return gaps;
}

std::vector<std::vector<preference_pair>> cut_into_rounds(std::vector<preference_pair> pairs, std::size_t chunks, chunk_order order,
                                                          std::uint64_t seed, difficulty_score const& easiness) {
  if (pairs.size() < chunks)
    throw error("--chunks " + std::to_string(chunks) + ": the data have only " + std::to_string(pairs.size()) + " pairs");
  std::vector<std::size_t> places(pairs.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  if (order == chunk_order::easy_to_hard || order == chunk_order::hard_to_easy) {
    std::vector<double> const ease = easiness(pairs);
    double const sign = order == chunk_order::easy_to_hard ? 1 : -1;
    std::stable_sort(places.begin(), places.end(), [&](std::size_t i, std::size_t j) { return sign * ease[i] > sign * ease[j]; });
  } else if (order == chunk_order::random) {
    shuffle(places, std::mt19937_64(seed));
  }
  std::vector<std::vector<preference_pair>> rounds(chunks);
  for (std::size_t i = 0; i < places.size(); ++i) rounds[i * chunks / places.size()].push_back(std::move(pairs[places[i]]));
  return rounds;
}

namespace {

std::vector<preference_pair> read(session const& opened, training_settings const& settings, std::filesystem::path const& file, double min_gap, std::size_t most) {
  pair_filter const clear = [&](preference_pair const& pair) { return score_gap(pair) >= min_gap; };
  std::vector<preference_pair> pairs =
      opened.read_pairs(file, settings.reads(most), settings.max_length, settings.truncation_mode, {}, min_gap > 0 ? clear : pair_filter());
  if (pairs.empty()) throw error(file.string() + ": no pair is left; lower the score gap asked for");
  static_cast<void>(have_reference(pairs));
  return pairs;
}

}  // namespace

pair_files read_pair_files(session const& opened, training_settings const& settings) {
  pair_files files;
  for (auto const& file : settings.dataset) files.training.push_back(read(opened, settings, file, settings.min_score_gap, settings.max_train_samples));
  if (!settings.eval_dataset.empty())
    files.held_out = read(opened, settings, settings.eval_dataset, settings.eval_min_score_gap, settings.max_eval_samples);
  return files;
}

std::vector<round_pairs> rounds_of(std::vector<std::vector<preference_pair>> files, round_settings const& rounds, std::uint64_t seed, bool loss_reads_scores,
                                   difficulty_score const& margins_of_start) {
  if (rounds.chunks > 0)
    files = cut_into_rounds(std::move(files.front()), rounds.chunks, rounds.order, seed,
                            rounds.difficulty == pair_difficulty::logp_margin ? margins_of_start : difficulty_score(score_gaps));
  std::vector<round_pairs> all;
  for (auto& pairs : files) {
    if (loss_reads_scores) static_cast<void>(score_gaps(pairs));
    all.push_back(std::make_shared<std::vector<preference_pair> const>(std::move(pairs)));
  }
  return all;
}

}  // namespace kedge::llm
