// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <tuple>

#include <kedge/losses/pair.hpp>

// Losses of the margin h = (log π(y_w) − log π(y_l)) − (log ρ(y_w) − log ρ(y_l)), z = β h. All take any constant added to
// both log-ratios of a prompt.                                                                     docs/math.md (1)

namespace kedge {

/// DPO: softplus(−z).                                                                  Rafailov et al. 2023, eq. 7
struct dpo {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&dpo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return detail::of_margin(detail::softplus(-z), -beta * detail::sigmoid(-z));
  }
};

/// HyPO, DPO with a reference that is never pessimistic: softplus(−β (log π_w − log π_l − max(0, log ρ_w − log ρ_l))). Where the
/// reference prefers the rejected completion, the policy has to prefer the chosen one all the same.       Yuan et al. 2026
struct hypo {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, log_ratios_only = false;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&hypo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const reference = detail::positive_part(pair.ref_chosen - pair.ref_rejected);
    double const z = beta * (pair.logp_chosen - pair.logp_rejected - reference);
    return detail::of_margin(detail::softplus(-z), -beta * detail::sigmoid(-z));
  }
};

/// Conservative DPO: labels are wrong with probability ε. (1−ε) softplus(−z) + ε softplus(z).       Mitchell 2023
struct cdpo {
  double beta = 0.1;
  double label_smoothing = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&cdpo::beta), detail::smoothing_parameter(&cdpo::label_smoothing)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return detail::of_margin((1 - label_smoothing) * detail::softplus(-z) + label_smoothing * detail::softplus(z),
                             beta * (label_smoothing * detail::sigmoid(z) - (1 - label_smoothing) * detail::sigmoid(-z)));
  }
};

/// Robust DPO: unbiased under labels flipped with probability ε < ½.                      Chowdhury et al. 2024
/// math    [(1−ε) softplus(−z) − ε softplus(z)] / (1 − 2ε)
struct robust_dpo {
  double beta = 0.1;
  double label_smoothing = 0;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&robust_dpo::beta), detail::smoothing_parameter(&robust_dpo::label_smoothing, 0.5)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin(), e = label_smoothing, scale = 1 / (1 - 2 * e);
    return detail::of_margin(scale * ((1 - e) * detail::softplus(-z) - e * detail::softplus(z)),
                             -beta * scale * ((1 - e) * detail::sigmoid(-z) + e * detail::sigmoid(z)));
  }
};

/// Hinge: max(0, 1 − z); slope 0 at the kink.                                 Zhao et al. 2023, Liu et al. 2023
struct hinge {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&hinge::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return detail::of_margin(detail::positive_part(1 - z), z < 1 ? -beta : 0);
  }
};

/// IPO on summed log-ratios: (h − 1/(2β))².                                              Azar et al. 2023, eq. 17
struct ipo_sum {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 2;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&ipo_sum::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() - 1 / (2 * beta);
    return detail::of_margin(u * u, 2 * u);
  }
};

/// EXO on a pair: reverse KL from (1−ε, ε) to (q, 1−q), q = σ(z).                             Ji et al. 2024, eq. 16
/// math    q log(q/(1−ε)) + (1−q) log((1−q)/ε); slope in z: q (1−q) (z − log((1−ε)/ε)).
/// Its slope vanishes for badly ranked pairs too: start from the reference.
struct exo {
  double beta = 0.1;
  double label_smoothing = 1e-3;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&exo::beta), detail::smoothing_parameter(&exo::label_smoothing, 0.5, true)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin(), e = label_smoothing;
    double const q = detail::sigmoid(z), p = detail::sigmoid(-z);
    double const value = q * (-detail::softplus(-z) - std::log1p(-e)) + p * (-detail::softplus(z) - std::log(e));
    return detail::of_margin(value, beta * q * p * (z - std::log1p(-e) + std::log(e)));
  }
};

/// DiscoPOP, log-ratio modulated: (1−m) softplus(−z) + m e^{−z}, m = σ(z/τ).                  Lu et al. 2024, eq. 5
/// m e^{−z} is formed in the exponent, so that it is finite for every z (τ < 1).
struct discopop {
  double beta = 0.1;
  double tau = 0.05;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&discopop::beta),
                 parameter<discopop>{"discopop_tau", &discopop::tau, 0, 1,
                                     "temperature of the switch between the two halves; 0.05 is usual", true, true}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    double const m = detail::sigmoid(z / tau), rest = detail::sigmoid(-z / tau);
    double const modulated_exp = std::exp(-z - detail::softplus(-z / tau));  // m e^{−z}
    double const logistic = detail::softplus(-z);
    double const slope = -rest * detail::sigmoid(-z) - modulated_exp + (rest * modulated_exp - m * rest * logistic) / tau;
    return detail::of_margin(rest * logistic + modulated_exp, beta * slope);
  }
};

/// R-DPO: DPO with a reward for brevity, softplus(−(z + α (n_w − n_l))).                           Park et al. 2024
struct length_regularized_dpo {
  double beta = 0.1;
  double alpha = 0.01;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_tokens = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&length_regularized_dpo::beta),
                                                parameter<length_regularized_dpo>{"rdpo_alpha", &length_regularized_dpo::alpha,
                                                                                  0, unbounded, "price of a token, in nats"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.margin() + alpha * (pair.tokens_chosen - pair.tokens_rejected);
    return detail::of_margin(detail::softplus(-u), -beta * detail::sigmoid(-u));
  }
};

/// ODPO: DPO with an offset that grows with the gap of the scores, softplus(−(z − α log(s_w − s_l))).  Amini et al. 2024
/// A gap of 0 asks for nothing: the pair has loss 0.
struct offset_dpo {
  double beta = 0.1;
  double alpha = 1;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true, reads_scores = true;
  static constexpr auto parameters = std::tuple{
      detail::beta_parameter(&offset_dpo::beta),
      parameter<offset_dpo>{"odpo_alpha", &offset_dpo::alpha, 0, unbounded, "weight of log(score gap) in the offset"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const gap = pair.score_gap();
    if (alpha != 0 && gap <= 0) return detail::of_margin(0, 0);
    double const u = beta * pair.margin() - (alpha == 0 ? 0 : alpha * std::log(gap));
    return detail::of_margin(detail::softplus(-u), -beta * detail::sigmoid(-u));
  }
};

}  // namespace kedge
