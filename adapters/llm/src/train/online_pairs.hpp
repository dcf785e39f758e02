// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include <kedge/llm/train/preference.hpp>

#include "preference_problem.hpp"
#include "rollout.hpp"

namespace kedge::llm {

/// Two completions of a prompt, by their place among the rollouts.
struct ranked {
  std::size_t better, worse;
};

/// Pairs of one round from rewarded completions of its prompts, `samples` of each in a row: the best with the worst, or each that
/// scored more with each that scored less. Completions of equal score make no pair.
[[nodiscard]] std::vector<ranked> pair_up(std::vector<rollout> const& rollouts, std::size_t samples, pairing_rule pairing,
                                          double min_score_gap);

/// The pairs that a round samples from its anchor. What was sampled stays in rounds/round-N.jsonl: preference pairs that `--dataset`
/// takes, with their token ids, from which a stopped round goes on.
class online_pairs {
 public:
  online_pairs(round_settings const& settings, training_settings const& training, causal_lm const& model, rollout_source& prompts);

  /// Pairs of the round that `state` is about to start, or has started: those are read again.
  /// throws  error if no two completions of a prompt differ in score; sampling_stopped
  [[nodiscard]] std::vector<preference_pair> pairs(training_state const& state);

  /// At most so many pairs in a round.
  [[nodiscard]] std::size_t expected() const;

  double mean_score = 0;    ///< of the completions sampled last
  std::size_t sampled = 0;  ///< how many they were

 private:
  [[nodiscard]] std::filesystem::path file(std::size_t round) const;
  void write(std::size_t round, std::vector<ranked> const& pairs, std::vector<rollout> const& rollouts) const;
  [[nodiscard]] std::vector<preference_pair> read(std::size_t round) const;
  [[nodiscard]] std::size_t prompts_per_round() const;

  round_settings const& settings_;
  training_settings const& training_;
  causal_lm const& model_;
  rollout_source& prompts_;
};

}  // namespace kedge::llm
