// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include <kedge/lab/tabular.hpp>

// Bandits whose reward gap under π ∝ e^{γ r}, γ = C_t/β, is known in closed form.

namespace kedge::lab {

/// E1: one arm of reward `gap` among K, the others 0.
[[nodiscard]] inline vector two_level_reward(std::size_t arms, double gap) {
  vector reward(arms, 0.0);
  reward.at(0) = gap;
  return reward;
}

/// Nodes and weights of Gauss–Legendre quadrature on [−1, 1], ascending: exact for polynomials below degree 2n.
struct quadrature {
  vector nodes, weights;
};

[[nodiscard]] inline quadrature gauss_legendre(std::size_t n) {
  quadrature rule{vector(n), vector(n)};
  auto const degree = static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    double x = -std::cos(3.141592653589793 * (static_cast<double>(i) + 0.75) / (degree + 0.5)), slope = 1;
    for (int iteration = 0; iteration < 20; ++iteration) {
      double value = 1, before = 0;
      for (double k = 1; k <= degree; ++k) {
        double const next = ((2 * k - 1) * x * value - (k - 1) * before) / k;
        before = value;
        value = next;
      }
      slope = degree * (x * value - before) / (x * x - 1);
      double const step = value / slope;
      x -= step;
      if (std::abs(step) < 1e-16) break;
    }
    rule.nodes[i] = x;
    rule.weights[i] = 2 / ((1 - x * x) * slope * slope);
  }
  return rule;
}

/// E2: contexts with two arms, rewards 0 and Δ_x, log Δ_x uniform on [log gap_min, 0]. The contexts are the nodes of Gaussian
/// quadrature, weighted so: a few of them already have the mean of the continuum to rounding, which exact_gap() gives.
/// Logits of all contexts lie in one vector: arm 0 of context x at 2x, arm 1 at 2x + 1.
class two_arm_contexts {
 public:
  /// throws  std::invalid_argument unless there are contexts and 0 < gap_min < 1
  two_arm_contexts(std::size_t contexts, double gap_min) : gap_min_(gap_min), reward_(2 * contexts, 0.0) {
    detail::require(contexts > 0, "two_arm_contexts: no contexts; pass at least one");
    detail::require(gap_min > 0 && gap_min < 1, "two_arm_contexts: gap_min = ", gap_min, "; it must be between 0 and 1");
    quadrature const rule = gauss_legendre(contexts);
    for (std::size_t x = 0; x < contexts; ++x) reward_[2 * x + 1] = std::pow(gap_min, (1 - rule.nodes[x]) / 2);
    for (double const weight : rule.weights) weights_.push_back(weight / 2);
  }

  [[nodiscard]] vector const& reward() const { return reward_; }

  /// Mean reward gap of logits of the same layout.
  [[nodiscard]] double gap(vector const& logits) const {
    double sum = 0;
    for (std::size_t x = 0; x < weights_.size(); ++x)
      sum += weights_[x] * reward_[2 * x + 1] / (1 + std::exp(logits[2 * x + 1] - logits[2 * x]));
    return sum;
  }

  /// The exact mean over a continuum of contexts, from a uniform start.
  /// math    [log(1 + e^{−γ d}) − log(1 + e^{−γ})]/(γ log(1/d)), d = gap_min
  [[nodiscard]] double exact_gap(double gamma) const {
    return (std::log1p(std::exp(-gamma * gap_min_)) - std::log1p(std::exp(-gamma))) / (gamma * std::log(1 / gap_min_));
  }

 private:
  double gap_min_;
  vector reward_, weights_;
};

/// E3: K arms with rewards spaced evenly on [0, 1].
[[nodiscard]] inline vector spaced_reward(std::size_t arms) {
  detail::require(arms > 1, "spaced_reward: ", arms, " arms; at least two are needed");
  vector reward(arms);
  for (std::size_t i = 0; i < arms; ++i) reward[i] = static_cast<double>(i) / static_cast<double>(arms - 1);
  return reward;
}

/// E3's exact gap from a uniform start: h/(e^{γh} − 1) − K h/(e^{Kγh} − 1), h = 1/(K − 1); about 1/γ for 1 ≪ γ ≪ 1/h.
[[nodiscard]] inline double spaced_exact_gap(std::size_t arms, double gamma) {
  auto const k = static_cast<double>(arms);
  double const h = 1 / (k - 1);
  return h / std::expm1(gamma * h) - k * h / std::expm1(k * gamma * h);
}

/// E4: rewards drawn uniformly from [0, 1].
template <class Generator>
[[nodiscard]] vector random_reward(std::size_t arms, Generator& generator) {
  std::uniform_real_distribution<double> uniform(0, 1);
  vector reward(arms);
  for (double& value : reward) value = uniform(generator);
  return reward;
}

/// E5: the best arm at 1, the runner-up `gap` below it, the others spread evenly from there down to 0.
[[nodiscard]] inline vector minimal_gap_reward(std::size_t arms, double gap) {
  detail::require(arms > 1 && gap > 0 && gap <= 1, "minimal_gap_reward: ", arms, " arms, gap ", gap,
                  "; at least two arms and a gap in (0, 1] are needed");
  vector reward(arms, 1.0);
  for (std::size_t i = 1; i < arms; ++i)
    reward[i] = (1 - gap) * static_cast<double>(arms - 1 - i) / static_cast<double>(arms > 2 ? arms - 2 : 1);
  if (arms == 2) reward[1] = 1 - gap;
  return reward;
}

}  // namespace kedge::lab
