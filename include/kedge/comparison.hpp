// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>

// Which of two policies is the better one, and how sure that is. Prompts are the units that are drawn at random: completions of one prompt are
// averaged first, and errors are those of a mean over prompts.

namespace kedge {

/// 97.5 % of a standard normal variable lie below it: intervals hold 95 %.
inline constexpr double two_sided_95 = 1.959963984540054;

/// A figure and the interval that holds 95 %.
struct estimate {
  double value = 0, low = 0, high = 0;
  double error = 0;  ///< standard error
};

/// The share of pairs (i, j) in which b_j is above a_i, ties counted half.
/// cost    the product of the two numbers of scores
[[nodiscard]] inline double share_above(std::span<double const> a, std::span<double const> b) {
  detail::require(!a.empty() && !b.empty(), "a share of wins needs a score on both sides");
  double wins = 0;
  for (double const x : a)
    for (double const y : b) wins += y > x ? 1 : y == x ? 0.5 : 0;
  return wins / static_cast<double>(a.size() * b.size());
}

/// The mean of n independent values, with s/√n, s² = Σ (x − x̄)²/(n − 1), and x̄ ± 1.96 of it. No error for one value.
[[nodiscard]] inline estimate mean_of(std::span<double const> values) {
  detail::require(!values.empty(), "a mean needs a value");
  auto const n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double const x : values) mean += x;
  mean /= n;
  for (double const x : values) squares += (x - mean) * (x - mean);
  double const error = values.size() > 1 ? std::sqrt(squares / (n - 1) / n) : 0;
  return {mean, mean - two_sided_95 * error, mean + two_sided_95 * error, error};
}

/// Wilson's interval of a share p of n independent trials:
///   (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)                                         Wilson 1927
[[nodiscard]] inline estimate wilson(double share, double trials) {
  double const z2 = two_sided_95 * two_sided_95, scale = 1 + z2 / trials, variance = share * (1 - share) / trials;
  double const middle = (share + z2 / (2 * trials)) / scale;
  double const half = two_sided_95 * std::sqrt(variance + z2 / (4 * trials * trials)) / scale;
  return {share, std::max(0.0, middle - half), std::min(1.0, middle + half), std::sqrt(variance)};
}

/// The win rate p = mean of the prompts' shares of wins, each in [0, 1], with Wilson's interval for as many trials as give it the error that it has
/// over prompts: n_eff = p(1 − p)/se². Where every prompt has the same share, n_eff is the number of prompts.
[[nodiscard]] inline estimate win_rate(std::span<double const> shares) {
  estimate const mean = mean_of(shares);
  double const spread = mean.value * (1 - mean.value);
  double const trials = mean.error > 1e-12 && spread > 1e-12 ? spread / (mean.error * mean.error) : static_cast<double>(shares.size());
  estimate rate = wilson(std::clamp(mean.value, 0.0, 1.0), trials);
  rate.error = mean.error;
  return rate;
}

/// Σ x / Σ n over prompts, with the error of a ratio: √(m/(m − 1) Σ (xᵢ − r nᵢ)²) / Σ n for m prompts. A KL a token is such a ratio.
[[nodiscard]] inline estimate ratio_of(std::span<double const> sums, std::span<double const> counts) {
  detail::require(sums.size() == counts.size() && !sums.empty(), "a ratio needs a sum and a count of each prompt");
  double sum = 0, count = 0, squares = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) sum += sums[i], count += counts[i];
  double const ratio = sum / count;
  for (std::size_t i = 0; i < sums.size(); ++i) squares += (sums[i] - ratio * counts[i]) * (sums[i] - ratio * counts[i]);
  auto const m = static_cast<double>(sums.size());
  double const error = sums.size() > 1 ? std::sqrt(m / (m - 1) * squares) / count : 0;
  return {ratio, ratio - two_sided_95 * error, ratio + two_sided_95 * error, error};
}

/// A win rate at equal length, and how much of the plain one is length.
struct length_controlled {
  estimate rate;
  double slope = 0;  ///< φ: above 0, the longer completion wins more often
};

/// The win rate that b would have if its completions were as long as a's: wᵢ, the share of prompt i, is explained by
///   logit pᵢ = θ + φ tanh(dᵢ/σ),   dᵢ = length of b − length of a, σ² the mean of (d − d̄)²,
/// and the answer is 1/(1 + e^−θ). θ and φ minimise −Σ [wᵢ log pᵢ + (1 − wᵢ) log(1 − pᵢ)] + ½φ² + ½10⁻⁶θ²; without the last terms there is no
/// minimum where length, or b, decides every prompt. The interval is that of θ by the sandwich H⁻¹ (Σ gᵢgᵢᵀ) H⁻¹.
///                                             Dubois et al. 2024, Length-Controlled AlpacaEval, (1) without the difficulty of prompts
/// shapes  one share and one difference of lengths a prompt
/// cost    Newton's method: some ten passes
[[nodiscard]] inline length_controlled length_controlled_win_rate(std::span<double const> shares,
                                                                  std::span<double const> differences) {
  detail::require(shares.size() == differences.size() && !shares.empty(),
                  "a length-controlled win rate needs a share and a difference of each prompt");
  constexpr double ridge_theta = 1e-6, ridge_phi = 1;
  double mean = 0, variance = 0;
  for (double const d : differences) mean += d / static_cast<double>(differences.size());
  for (double const d : differences) variance += (d - mean) * (d - mean) / static_cast<double>(differences.size());
  std::vector<double> x;
  for (double const d : differences) x.push_back(variance > 0 ? std::tanh(d / std::sqrt(variance)) : 0);
  auto const probability = [](double z) { return z >= 0 ? 1 / (1 + std::exp(-z)) : std::exp(z) / (1 + std::exp(z)); };
  // −log-likelihood of a share w at logit z, without overflow: log(1 + e^z) − w z.
  auto const objective = [&](double theta, double phi) {
    double sum = (ridge_theta * theta * theta + ridge_phi * phi * phi) / 2;
    for (std::size_t i = 0; i < x.size(); ++i) {
      double const z = theta + phi * x[i];
      sum += std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))) - shares[i] * z;
    }
    return sum;
  };
  double theta = 0, phi = 0, h00 = 0, h01 = 0, h11 = 0, s00 = 0, s01 = 0, s11 = 0;
  for (int step = 0; step < 200; ++step) {
    double g0 = ridge_theta * theta, g1 = ridge_phi * phi;
    h00 = ridge_theta, h01 = 0, h11 = ridge_phi, s00 = 0, s01 = 0, s11 = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      double const p = probability(theta + phi * x[i]), g = p - shares[i], h = p * (1 - p);
      g0 += g, g1 += g * x[i];
      h00 += h, h01 += h * x[i], h11 += h * x[i] * x[i];
      s00 += g * g, s01 += g * g * x[i], s11 += g * g * x[i] * x[i];
    }
    double const determinant = h00 * h11 - h01 * h01;
    double const to_theta = (h11 * g0 - h01 * g1) / determinant, to_phi = (h00 * g1 - h01 * g0) / determinant;
    double length = 1;  // shorter where a whole step leads uphill
    double const before = objective(theta, phi), expected = g0 * to_theta + g1 * to_phi;
    while (length > 1e-10 && objective(theta - length * to_theta, phi - length * to_phi) > before - 1e-4 * length * expected)
      length /= 2;
    theta -= length * to_theta;
    phi -= length * to_phi;
    if (std::abs(to_theta) + std::abs(to_phi) < 1e-12) break;
  }
  double const determinant = h00 * h11 - h01 * h01;
  double const error = std::sqrt(std::max(0.0, h11 * h11 * s00 - 2 * h11 * h01 * s01 + h01 * h01 * s11)) / determinant;  // of θ
  double const rate = probability(theta);
  return {
      {rate, probability(theta - two_sided_95 * error), probability(theta + two_sided_95 * error), rate * (1 - rate) * error},
      phi};
}

}  // namespace kedge
