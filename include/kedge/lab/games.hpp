// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/lab/tabular.hpp>

// General preferences: P(i ≻ j) that need not come from a reward.

namespace kedge::lab {

/// A symmetric two-player game on arms; P(i ≻ j) + P(j ≻ i) = 1.
class preference_game {
 public:
  /// throws  std::invalid_argument unless P is square and P(i ≻ j) + P(j ≻ i) = 1
  explicit preference_game(std::vector<vector> wins) : wins_(std::move(wins)) {
    for (std::size_t i = 0; i < wins_.size(); ++i) {
      detail::require(wins_[i].size() == wins_.size(), "preference_game: row ", i, " has ", wins_[i].size(), " entries for ",
                      wins_.size(), " arms");
      for (std::size_t j = 0; j <= i; ++j)
        detail::require(std::abs(wins_[i][j] + wins_[j][i] - 1) < 1e-12, "preference_game: P(", i, " > ", j, ") and P(", j,
                        " > ", i, ") don't sum to one");
    }
  }

  [[nodiscard]] std::size_t arms() const { return wins_.size(); }
  [[nodiscard]] double operator()(std::size_t i, std::size_t j) const { return wins_[i][j]; }

  /// P(y ≻ π) of every arm y.
  [[nodiscard]] vector win_rates(std::span<double const> policy) const {
    vector rates;
    for (vector const& row : wins_) rates.push_back(expected(policy, row));
    return rates;
  }
  /// The same for the policy of the logits: the rewards of a round.
  [[nodiscard]] vector operator()(vector const& logits) const { return win_rates(softmax(logits)); }

  /// 2 (max_y P(y ≻ π) − ½): 0 exactly at a von Neumann winner.
  [[nodiscard]] double duality_gap(std::span<double const> policy) const {
    vector const rates = win_rates(policy);
    return 2 * (*std::max_element(rates.begin(), rates.end()) - 0.5);
  }

 private:
  std::vector<vector> wins_;
};

/// Arm 0 beats every other with probability .8; the others beat each other in a cycle with .7. Minimal gap .1 against
/// all opponents (the paper's assumption B.1), .3 against the winner.
[[nodiscard]] inline preference_game dominant_arm_game(double wins = 0.8, double cycle = 0.7) {
  double const w = wins, l = 1 - wins, c = cycle, d = 1 - cycle;
  return preference_game({{0.5, w, w, w}, {l, 0.5, c, d}, {l, d, 0.5, c}, {l, c, d, 0.5}});
}

/// Three arms, each of which beats the next with probability .9: none dominates, the uniform policy is the only equilibrium.
[[nodiscard]] inline preference_game rock_paper_scissors(double wins = 0.9) {
  double const l = 1 - wins;
  return preference_game({{0.5, wins, l}, {l, 0.5, wins}, {wins, l, 0.5}});
}

/// Bradley–Terry: P(i ≻ j) = σ(r_i − r_j).
[[nodiscard]] inline preference_game bradley_terry(vector const& reward) {
  std::vector<vector> wins(reward.size(), vector(reward.size()));
  for (std::size_t i = 0; i < reward.size(); ++i)
    for (std::size_t j = 0; j < reward.size(); ++j) wins[i][j] = 1 / (1 + std::exp(reward[j] - reward[i]));
  return preference_game(std::move(wins));
}

}  // namespace kedge::lab
