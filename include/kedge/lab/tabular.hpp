// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>

// Policies over finitely many arms, as vectors of logits or of probabilities.

namespace kedge::lab {

using vector = std::vector<double>;

/// log Σ e^{x_i}, without overflow.
[[nodiscard]] inline double log_sum_exp(std::span<double const> x) {
  double const largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double const value : x) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

/// Normalised log-probabilities of logits.
[[nodiscard]] inline vector log_softmax(std::span<double const> logits) {
  double const log_z = log_sum_exp(logits);
  vector logp(logits.begin(), logits.end());
  for (double& value : logp) value -= log_z;
  return logp;
}

[[nodiscard]] inline vector softmax(std::span<double const> logits) {
  vector p = log_softmax(logits);
  for (double& value : p) value = std::exp(value);
  return p;
}

/// E_p x.
[[nodiscard]] inline double expected(std::span<double const> p, std::span<double const> x) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] * x[i];
  return sum;
}

/// KL(softmax p ‖ softmax q), from logits, in nats.
[[nodiscard]] inline double kl(std::span<double const> p, std::span<double const> q) {
  vector const logp = log_softmax(p), logq = log_softmax(q);
  double sum = 0;
  for (std::size_t i = 0; i < logp.size(); ++i) sum += std::exp(logp[i]) * (logp[i] - logq[i]);
  return sum;
}

/// ½ Σ |p_i − q_i| of probabilities.
[[nodiscard]] inline double total_variation(std::span<double const> p, std::span<double const> q) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += std::abs(p[i] - q[i]) / 2;
  return sum;
}

/// max r − E r under the policy of the logits: the distance from the unregularised optimum. Summed over arms below the
/// best, so that a gap far below rounding of E r keeps its digits.
[[nodiscard]] inline double reward_gap(std::span<double const> logits, std::span<double const> reward) {
  vector const p = softmax(logits);
  double const best = *std::max_element(reward.begin(), reward.end());
  double gap = 0;
  for (std::size_t i = 0; i < p.size(); ++i) gap += p[i] * (best - reward[i]);
  return gap;
}

/// Probability outside the best arms: total variation from the deterministic optimum.
[[nodiscard]] inline double miss_probability(std::span<double const> logits, std::span<double const> reward) {
  vector const p = softmax(logits);
  double const best = *std::max_element(reward.begin(), reward.end());
  double miss = 0;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (reward[i] < best) miss += p[i];
  return miss;
}

/// Logits less their mean: one representative of all logits that mean the same policy.
[[nodiscard]] inline vector centered(std::span<double const> logits) {
  double mean = 0;
  for (double const value : logits) mean += value / static_cast<double>(logits.size());
  vector result(logits.begin(), logits.end());
  for (double& value : result) value -= mean;
  return result;
}

/// Largest |x_i − y_i|.
[[nodiscard]] inline double max_difference(std::span<double const> x, std::span<double const> y) {
  detail::require(x.size() == y.size(), "max_difference: ", x.size(), " against ", y.size(), " elements");
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i] - y[i]));
  return largest;
}

}  // namespace kedge::lab
