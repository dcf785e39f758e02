// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <kedge/detail/check.hpp>

namespace kedge {

// A momentum rule gives α_t, the extrapolation after round t = 1, 2, … since the start or the last restart:
//   log π_t = log π̂_t + α_t (log π̂_t − log π̂_{t−1})                              docs/math.md (5)

/// α_t = 0: plain iterative training.
struct no_momentum {
  [[nodiscard]] double operator()(std::size_t) const { return 0; }
};

/// α_t = α, as in the APO paper, which needs 0 ≤ α < 1. Under Bradley–Terry it is a change of step size.
struct constant_momentum {
  double alpha = 0.3;
  [[nodiscard]] double operator()(std::size_t) const { return alpha; }
};

/// α_t = t / (t + s): Nesterov's schedule; C_t = t (t + 2s + 1) / (2 (s + 1)) grows with t².
struct nesterov_momentum {
  double s = 3;
  [[nodiscard]] double operator()(std::size_t round) const {
    return static_cast<double>(round) / (static_cast<double>(round) + s);
  }
};

/// α_1, α_2, … one by one; the last one goes on.
struct listed_momentum {
  std::vector<double> alpha;
  [[nodiscard]] double operator()(std::size_t round) const {
    detail::require(!alpha.empty(), "listed_momentum: no alpha; list at least one");
    return round <= alpha.size() ? alpha[round - 1] : alpha.back();
  }
};

template <class M>
concept momentum = requires(M const& rule, std::size_t round) {
  { rule(round) } -> std::convertible_to<double>;
};

/// What theory has against an α, as one line for the user; empty if nothing. Any α runs: divergence is a result.
[[nodiscard]] inline std::string theory_warning(constant_momentum const& rule) {
  if (rule.alpha >= 0 && rule.alpha < 1) return {};
  return "alpha = " + detail::text(rule.alpha) + ": the theory of accelerated preference optimization needs 0 <= alpha < 1" +
         (rule.alpha >= 1 ? "; with alpha >= 1 the steps grow from round to round" : "; a negative alpha slows down");
}

/// C_T: the coefficient of r/β in log π̂_T under exact Bradley–Terry dynamics.
/// math    v_1 = 1, v_{t+1} = α_t v_t + 1, C_T = Σ_{t ≤ T} v_t                       docs/math.md (5)
/// cost    O(T)
template <momentum M>
[[nodiscard]] double accumulated_steps(M const& rule, std::size_t rounds) {
  double velocity = 0;
  double sum = 0;
  for (std::size_t t = 1; t <= rounds; ++t) {
    velocity = (t == 1 ? 0 : rule(t - 1) * velocity) + 1;
    sum += velocity;
  }
  return sum;
}

/// β_eq = β T / C_T: plain iterative DPO with this β ends where momentum ends, under exact dynamics.
///                                                                                 docs/math.md (7)
template <momentum M>
[[nodiscard]] double effective_beta(double beta, M const& rule, std::size_t rounds) {
  detail::require(beta > 0, "effective_beta: beta = ", beta, "; it must be positive");
  detail::require(rounds > 0, "effective_beta: no rounds; pass at least one");
  return beta * static_cast<double>(rounds) / accumulated_steps(rule, rounds);
}

/// The same where each round has a β of its own.
/// math    v_1 = 1/β_1, v_{t+1} = α_t v_t + 1/β_{t+1}, β_eq = T / Σ_t v_t
template <momentum M>
[[nodiscard]] double effective_beta(std::span<double const> betas, M const& rule) {
  detail::require(!betas.empty(), "effective_beta: no rounds; pass at least one");
  double velocity = 0, sum = 0;
  for (std::size_t t = 1; t <= betas.size(); ++t) {
    detail::require(betas[t - 1] > 0, "effective_beta: beta = ", betas[t - 1], "; it must be positive");
    velocity = (t == 1 ? 0 : rule(t - 1) * velocity) + 1 / betas[t - 1];
    sum += velocity;
  }
  return static_cast<double>(betas.size()) / sum;
}

}  // namespace kedge
