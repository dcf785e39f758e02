// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <kedge/detail/check.hpp>
#include <kedge/detail/parameters.hpp>

namespace kedge {

// A momentum rule gives α_t, the extrapolation after round t = 1, 2, … since the start or the last restart:
//   log π_t = log π̂_t + α_t (log π̂_t − log π̂_{t−1})                              docs/math.md (5)
// It is called with t, or with the state if it takes one.

/// α_t = 0: plain iterative training.
struct no_momentum {
  [[nodiscard]] double operator()(std::size_t) const { return 0; }
};

/// α_t = α, as in the APO paper, which needs 0 ≤ α < 1. Under Bradley–Terry it is a change of step size.
struct constant_momentum {
  double alpha = 0.3;
  static constexpr auto parameters = std::tuple{parameter<constant_momentum>{
      "alpha", &constant_momentum::alpha, -unbounded, unbounded, "share of the last move that is repeated"}};
  [[nodiscard]] double operator()(std::size_t) const { return alpha; }
};

/// α_t = t / (t + s): Nesterov's schedule; C_t = t (t + 2s + 1) / (2 (s + 1)) grows with t².
struct nesterov_momentum {
  double s = 3;
  static constexpr auto parameters =
      std::tuple{parameter<nesterov_momentum>{"s", &nesterov_momentum::s, 0, unbounded, "rounds until alpha is 1/2"}};
  [[nodiscard]] double operator()(std::size_t round) const {
    return static_cast<double>(round) / (static_cast<double>(round) + s);
  }
};

/// FISTA's sequence, Nesterov's of 1983: α_t = (t_t − 1)/t_{t+1}, t_1 = 1, t_{t+1} = (1 + √(1 + 4 t_t²))/2.   Beck and Teboulle 2009
/// On a convex objective f with steps 1/β, f(θ̂_t) − f* ≤ 2β ‖θ_0 − θ*‖² / (t + 1)².                  docs/math.md (15)
/// cost    O(t)
struct fista_momentum {
  [[nodiscard]] double operator()(std::size_t round) const {
    double t = 1, next = next_of(t);
    for (std::size_t i = 1; i < round; ++i) t = next, next = next_of(t);
    return (t - 1) / next;
  }

 private:
  static double next_of(double t) { return (1 + std::sqrt(1 + 4 * t * t)) / 2; }
};

/// Güler's sequence for the proximal point method with a step 1/β_t of its own each round: FISTA's where all are equal.
/// math    α_t = (t_t − 1)/t_{t+1}, t_{t+1} = (1 + √(1 + 4 t_t² β_{t+1}/β_t))/2
/// Under a schedule it reads the round from the state, so that a restart begins the sequence anew and not the list of β.
/// cost    O(t)                                                                                   Güler 1992
struct guler_momentum {
  std::vector<double> beta{1.0};  ///< of rounds 1, 2, …; the last one goes on

  [[nodiscard]] double operator()(std::size_t round) const { return between(0, round); }
  template <class State>
    requires requires(State const& s) { s.round - s.restarted; }
  [[nodiscard]] double operator()(State const& s) const {
    return between(s.restarted, s.round);
  }

 private:
  [[nodiscard]] double beta_of(std::size_t round) const { return round < beta.size() ? beta[round] : beta.back(); }

  [[nodiscard]] double between(std::size_t first, std::size_t last) const {
    detail::require(!beta.empty(), "guler_momentum: no beta; list at least one");
    for (double const b : beta) detail::require(b > 0, "guler_momentum: beta = ", b, "; it must be positive");
    double t = 1, next = 1;
    for (std::size_t i = first; i < last; ++i) {
      t = next;
      next = (1 + std::sqrt(1 + 4 * t * t * beta_of(i + 1) / beta_of(i))) / 2;
    }
    return (t - 1) / next;
  }
};

/// The constant (√κ − 1)/(√κ + 1) of strongly convex objectives. A round with step 1/β on an objective of curvature at least μ has the
/// condition number κ = 1 + β/μ; the error falls by 1 − 1/√κ a round, without momentum by (1 − 1/κ)².       Nesterov 2004
struct strongly_convex_momentum {
  double kappa = 1;  ///< at least 1

  static constexpr auto parameters = std::tuple{parameter<strongly_convex_momentum>{
      "kappa", &strongly_convex_momentum::kappa, 1, unbounded, "condition number of a round, 1 + beta/mu"}};

  [[nodiscard]] double operator()(std::size_t) const { return (std::sqrt(kappa) - 1) / (std::sqrt(kappa) + 1); }
};

/// α_1, α_2, … one by one; the last one goes on.
struct listed_momentum {
  std::vector<double> alpha;
  [[nodiscard]] double operator()(std::size_t round) const {
    detail::require(!alpha.empty(), "listed_momentum: no alpha; list at least one");
    return round <= alpha.size() ? alpha[round - 1] : alpha.back();
  }
};

/// A rule that knows the round alone. All closed forms below take one.
template <class M>
concept momentum = requires(M const& rule, std::size_t round) {
  { rule(round) } -> std::convertible_to<double>;
};

/// A rule that reads the run's state: theta is θ̂_t, previous θ̂_{t−1}, round t.
template <class M, class State>
concept reads_state = requires(M const& rule, State const& s) {
  { rule(s) } -> std::convertible_to<double>;
};

/// What an extrapolating schedule takes: rule(state), or else rule(t).
template <class M, class State>
concept momentum_for = momentum<M> || reads_state<M, State>;

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

/// W_1 … W_T: how much of the move of round t is in the result after round T. Their sum is C_T.
/// math    W_T = 1, W_t = 1 + α_t W_{t+1}                                            docs/math.md (7′)
/// cost    O(T)
template <momentum M>
[[nodiscard]] std::vector<double> round_weights(M const& rule, std::size_t rounds) {
  std::vector<double> weights(rounds, 1.0);
  for (std::size_t t = rounds; t-- > 1;) weights[t - 1] = 1 + rule(t) * weights[t];
  return weights;
}

/// β_eq = β T / C_T: plain iterative DPO with this β ends where momentum ends, if rounds are solved. Where they aren't, the rate changes
/// with β: effective_baseline().
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
