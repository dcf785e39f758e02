// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/lab/tabular.hpp>
#include <kedge/loop.hpp>

// PPO and SALSA on a bandit, in exact arithmetic: maximise E_π r − β KL(π ‖ anchor).

namespace kedge::lab {

/// A round is `steps` mirror-ascent steps on the regularised reward, from wherever the round starts; the anchor is the
/// schedule's: one model (PPO), a soup (SALSA), effective references Σ w log π_i (two KL terms, up to their tax).
/// math    θ ← (1 − ηβ) θ + ηβ θ_anchor + η r; fixed point θ_anchor + r/β, approached by (1 − ηβ) a step
class anchored_reward {
 public:
  /// throws  std::invalid_argument unless β > 0 and 0 < ηβ ≤ 1
  anchored_reward(vector reward, double beta, double eta, std::size_t steps)
      : reward_(std::move(reward)), beta_(beta), eta_(eta), steps_(steps) {
    detail::require(beta > 0, "anchored_reward: beta = ", beta, "; it must be positive");
    detail::require(eta > 0 && eta * beta <= 1, "anchored_reward: eta = ", eta, " with beta = ", beta,
                    "; eta times beta must be in (0, 1]");
  }

  template <class State>
  vector const& source(State const&) const {
    return reward_;
  }
  [[nodiscard]] vector score(vector const& logits, vector const&) const { return log_softmax(logits); }
  status solve(vector& logits, vector const& reward, vector const& anchor, std::size_t) const {
    for (std::size_t k = 0; k < steps_; ++k)
      for (std::size_t i = 0; i < logits.size(); ++i)
        logits[i] = (1 - eta_ * beta_) * logits[i] + eta_ * beta_ * anchor[i] + eta_ * reward[i];
    return status::done;
  }

 private:
  vector reward_;
  double beta_, eta_;
  std::size_t steps_;
};

/// The exact optimum: logits of the anchor plus r/β.
[[nodiscard]] inline vector anchored_optimum(vector const& anchor, vector const& reward, double beta) {
  vector logits = anchor;
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] += reward[i] / beta;
  return logits;
}

/// The largest reward within KL(π ‖ anchor) ≤ budget: E r at anchor · e^{γ r} with γ ≥ 0 found by bisection.
[[nodiscard]] inline double reachable_reward(vector const& anchor, vector const& reward, double budget) {
  if (budget <= 0) return expected(softmax(anchor), reward);
  double low = 0, high = 1;
  auto tilted = [&](double gamma) { return anchored_optimum(anchor, reward, 1 / gamma); };
  while (kl(tilted(high), anchor) < budget && high < 1e8) high *= 2;
  for (int i = 0; i < 60; ++i) {
    double const middle = (low + high) / 2;
    (kl(tilted(middle), anchor) < budget ? low : high) = middle;
  }
  return expected(softmax(tilted(high)), reward);
}

/// Two KL terms cost −log Z more than one to the geometric mean: Σ w_i KL(π‖π_i) = KL(π‖π_geo) − log Z, Z = Σ_y Π π_i^{w_i}
/// ≤ 1. Returns −log Z.
[[nodiscard]] inline double disagreement_tax(std::vector<vector> const& logits, vector const& weights) {
  vector geometric(logits.at(0).size(), 0.0);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    vector const logp = log_softmax(logits[i]);
    for (std::size_t y = 0; y < geometric.size(); ++y) geometric[y] += weights.at(i) * logp[y];
  }
  return -log_sum_exp(geometric);
}

}  // namespace kedge::lab
