// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include <kedge/momentum.hpp>

// What theory says about APO's iterates, as functions; γ = C_t/β throughout.                    docs/math.md (5), (7)

namespace kedge::lab {

/// C_t of constant momentum: [t − α (1 − α^t)/(1 − α)]/(1 − α), α ≠ 1.
[[nodiscard]] inline double constant_steps(double alpha, std::size_t t) {
  double const n = static_cast<double>(t);
  return (n - alpha * (1 - std::pow(alpha, n)) / (1 - alpha)) / (1 - alpha);
}

/// C_t of Nesterov's schedule t/(t + s): t (t + 2s + 1)/(2 (s + 1)).
[[nodiscard]] inline double nesterov_steps(double s, std::size_t t) {
  double const n = static_cast<double>(t);
  return n * (n + 2 * s + 1) / (2 * (s + 1));
}

/// C_t where momentum is taken from the extrapolated point, ExPO in every round: 1 + (1 + α)(t − 1).
[[nodiscard]] inline double expo_steps(double alpha, std::size_t t) { return 1 + (1 + alpha) * (static_cast<double>(t) - 1); }

/// How much noisier APO's result is than that of its null baseline, if each round's reward has independent noise:
/// T Σ W_t² / (Σ W_t)², W the weights of the rounds.                                               docs/math.md (7)
template <momentum M>
[[nodiscard]] double variance_factor(M const& rule, std::size_t rounds) {
  double sum = 0, squares = 0;
  for (double const weight : round_weights(rule, rounds)) {
    sum += weight;
    squares += weight * weight;
  }
  return static_cast<double>(rounds) * squares / (sum * sum);
}

/// Lambert's W₀ on x ≥ 0: w e^w = x, to rounding, by Halley's iteration.
[[nodiscard]] inline double lambert_w0(double x) {
  detail::require(x >= 0, "lambert_w0: x = ", x, "; only x >= 0 is needed here");
  double w = std::log1p(x);
  for (int i = 0; i < 50; ++i) {
    double const e = std::exp(w), f = w * e - x;
    double const step = f / (e * (w + 1) - (w + 2) * f / (2 * w + 2));
    w -= step;
    if (std::abs(step) <= 1e-16 * (1 + w)) break;
  }
  return w;
}

/// The paper's bound on the reward gap (C.8): log((1 − p)/p)/γ, p the reference's probability of the best arm. It is wrong for
/// p > 1/(1 + e^{1/e}) = 0.40905: there it falls below the true gap, at p ≥ ½ to 0.
[[nodiscard]] inline double paper_gap_bound(double p, double gamma) { return std::log((1 - p) / p) / gamma; }
inline constexpr double paper_bound_holds_to = 0.4090535225455746;

/// The sharp bound for every p: W₀((1 − p)/(e p))/γ, attained by a two-level reward with gap worst_gap(p, γ).
[[nodiscard]] inline double sharp_gap_bound(double p, double gamma) {
  return lambert_w0((1 - p) / (p * std::exp(1.0))) / gamma;
}

/// The gap Δ between best and other rewards at which the sharp bound is attained: (1 + W₀)/γ.
[[nodiscard]] inline double worst_gap(double p, double gamma) {
  return (1 + lambert_w0((1 - p) / (p * std::exp(1.0)))) / gamma;
}

/// Bound on the total variation from the optimum under a minimal gap Δ: e^{−γΔ} (1 − p)/p, twice the exponent that
/// Pinsker's inequality gives.
[[nodiscard]] inline double miss_bound(double p, double gap, double gamma) { return std::exp(-gamma * gap) * (1 - p) / p; }

}  // namespace kedge::lab
