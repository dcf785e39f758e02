// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/schedule.hpp>

// More places for the anchor: schedules beside those of schedule.hpp. Rounds go on from θ̂_t.

namespace kedge {

/// Another schedule's anchor moves only every k rounds (TR-DPO's τ). Schedule keeps its anchor: ema_anchor, soup_anchor, ….
template <class Schedule>
  requires Schedule::keeps_anchor
struct every {
  std::size_t k = 1;
  Schedule schedule{};
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    detail::require(k > 0, "every: k = 0 rounds; it must be at least 1");
    if (s.round % k == 0) schedule.place(s);
  }
};

/// The anchor is the mean of all results so far, the start included: a growing soup.
struct soup_anchor {
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    double const share = 1 / static_cast<double>(s.round + 1);
    if (s.anchor.empty())
      s.anchor.push_back({1.0, deep_copy(s.theta)});
    else
      axpby(share, s.theta, 1 - share, s.anchor.front().point);
  }
};

/// Bias-corrected EMA: θ_anchor = EMA_t + a_t (θ̂_t − θ_0), EMA ← (1 − b_t) EMA + b_t θ̂_t.             Block and Zhang 2025
/// math    a_t = (ρ + γt)^{−η}, b_t = (ρ + γt)^{−κ}
struct bema_anchor {
  double kappa = 0.5, eta = 0.2, rho = 10, gamma = 1;
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) {
      s.anchor.push_back({1.0, deep_copy(s.theta)});
      s.memory.push_back(deep_copy(s.theta));  // θ_0
      s.memory.push_back(deep_copy(s.theta));  // EMA
      return;
    }
    double const age = rho + gamma * static_cast<double>(s.round);
    double const a = std::pow(age, -eta), b = std::pow(age, -kappa);
    auto& anchor = s.anchor.front().point;
    axpby(b, s.theta, 1 - b, s.memory[1]);
    axpby(1, s.memory[1], 0, anchor);
    axpby(a, s.theta, 1, anchor);
    axpby(-a, s.memory[0], 1, anchor);
  }
};

/// INPO: the effective reference ρ log π_0 + (1 − ρ) log π̂_t.                                          Zhang et al. 2024
struct inpo_anchor {
  double rho = 1.0 / 3;
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) {
      s.anchor.push_back({rho, deep_copy(s.theta)});
      s.anchor.push_back({1 - rho, deep_copy(s.theta)});
    } else {
      axpby(1, s.theta, 0, s.anchor.back().point);
    }
  }
};

/// MNPO: Σ_j λ_j log π̂_{t−j}, the newest first; before there are enough rounds the oldest takes what is left over.
///                                                                                              Wu et al. 2025
struct recent_anchors {
  std::vector<double> weights{0.5, 0.5};
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    require_affine(weights);
    s.anchor.insert(s.anchor.begin(), {0.0, deep_copy(s.theta)});
    if (s.anchor.size() > weights.size()) s.anchor.pop_back();
    double rest = 1;
    for (std::size_t j = 0; j < s.anchor.size(); ++j) {
      s.anchor[j].weight = j + 1 < s.anchor.size() ? weights[j] : rest;
      rest -= weights[j];
    }
  }
};

/// log of the weighted harmonic mean of probabilities: −log Σ_j w_j e^{−l_j}, element by element.        Le et al. 2024 (MRPO)
/// throws  std::invalid_argument if counts or sizes differ, a weight is negative or they don't sum to one
[[nodiscard]] inline std::vector<double> harmonic_mean(std::vector<double> const& weights,
                                                       std::vector<std::vector<double>> const& logp) {
  require_affine(weights);
  detail::require(weights.size() == logp.size(), "harmonic mean: ", weights.size(), " weights for ", logp.size(),
                  " references; pass one weight a reference");
  for (double const weight : weights)
    detail::require(weight >= 0, "harmonic mean: weight ", weight, "; weights must not be negative");
  std::vector<double> mean(logp.front().size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    double smallest = logp.front().at(i), sum = 0;
    for (auto const& reference : logp) smallest = reference.at(i) < smallest ? reference.at(i) : smallest;
    for (std::size_t j = 0; j < logp.size(); ++j) sum += weights[j] * std::exp(smallest - logp[j].at(i));
    mean[i] = smallest - std::log(sum);
  }
  return mean;
}

/// Several fixed references in probability space, as MRPO has them: the caller fills state.anchor with points and weights.
struct harmonic_anchor {
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) s.anchor.push_back({1.0, deep_copy(s.theta)});
  }

  template <tensor P>
  [[nodiscard]] pair_log_probs combine(std::vector<anchor_term<P>> const& terms,
                                       std::vector<pair_log_probs> const& logp) const {
    std::vector<std::vector<double>> chosen, rejected;
    for (pair_log_probs const& reference : logp) {
      chosen.push_back(reference.chosen);
      rejected.push_back(reference.rejected);
    }
    return {combine(terms, chosen), combine(terms, rejected)};
  }
  template <tensor P>
  [[nodiscard]] std::vector<double> combine(std::vector<anchor_term<P>> const& terms,
                                            std::vector<std::vector<double>> const& logp) const {
    std::vector<double> weights;
    for (auto const& term : terms) weights.push_back(term.weight);
    return harmonic_mean(weights, logp);
  }
};

}  // namespace kedge
