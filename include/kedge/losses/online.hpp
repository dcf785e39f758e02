// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/losses/pair.hpp>

// Losses of online and game-theoretic methods: margins against the last policy, with scores, win rates or a step size η as
// targets. Their exact minimisers are mirror-descent steps.                                        docs/math.md (3)

namespace kedge {

/// INPO: (h − 1/(2η))², h against the effective reference ρ log π_ref + (1−ρ) log π_t, ρ = τ/η.         Zhang et al. 2024
/// inpo_weights gives ρ and 1 − ρ for the anchor terms.
struct inpo {
  double eta = 0.002;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr auto parameters =
      std::tuple{parameter<inpo>{"eta", &inpo::eta, 0, unbounded, "step size of the game", true}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() - 1 / (2 * eta);
    return detail::of_margin(u * u, 2 * u);
  }
};

/// λ of log π_ref and of log π_t in INPO's effective reference; their sum is one.
struct inpo_weights {
  double reference, last;
};

/// The weights of log π_ref and log π_t in INPO's effective reference.
/// throws  std::invalid_argument unless 0 ≤ τ ≤ η, η > 0
[[nodiscard]] inline inpo_weights inpo_reference(double eta, double tau) {
  detail::require(eta > 0, "inpo_reference: eta = ", eta, "; it must be positive");
  detail::require(tau >= 0 && tau <= eta, "inpo_reference: tau = ", tau, " with eta = ", eta,
                  "; tau must be at least 0 and at most eta");
  return {tau / eta, 1 - tau / eta};
}

/// ONPO: (h − η/2)², h against the auxiliary policy; two fits on the same data a round make the optimistic step.
///                                                                                            Zhang et al. 2025
struct onpo {
  double eta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr auto parameters =
      std::tuple{parameter<onpo>{"eta", &onpo::eta, 0, unbounded, "step size of the game", true}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() - eta / 2;
    return detail::of_margin(u * u, 2 * u);
  }
};

/// Online IPO with known win rates as scores: (h − (P_w − P_l)/β)². With η = 1/β it is MNPO's loss on an effective reference.
///                                                                                            Zhou et al. 2025
struct online_ipo {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_scores = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&online_ipo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() - pair.score_gap() / beta;
    return detail::of_margin(u * u, 2 * u);
  }
};

/// DNO: cross-entropy of σ(ηh) against the soft label σ(s_w − s_l), s = win rates against the last policy.   Rosset et al. 2024
struct dno {
  double eta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_scores = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&dno::eta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = eta * pair.margin();
    double const label = detail::sigmoid(pair.score_gap()), other = detail::sigmoid(-pair.score_gap());
    return detail::of_margin(label * detail::softplus(-z) + other * detail::softplus(z),
                             eta * (other * detail::sigmoid(z) - label * detail::sigmoid(-z)));
  }
};

/// REBEL: (h/η − (s_w − s_l))², regression of reward gaps.                                               Gao et al. 2024
struct rebel {
  double eta = 1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_scores = true;
  static constexpr auto parameters = std::tuple{
      parameter<rebel>{"eta", &rebel::eta, 0, unbounded, "step size: h/eta is fitted to the gap of the scores", true}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() / eta - pair.score_gap();
    return detail::of_margin(u * u, 2 * u / eta);
  }
};

/// Distilled DPO: (βh − (s_w − s_l))²; REBEL with η = 1/β.                                               Fisch et al. 2024
struct distilled_dpo {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_scores = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&distilled_dpo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.margin() - pair.score_gap();
    return detail::of_margin(u * u, 2 * beta * u);
  }
};

}  // namespace kedge
