// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <tuple>

#include <kedge/losses/pair.hpp>

// Losses of log-probabilities averaged over tokens. With a reference they are not shift-invariant: the normaliser of an
// effective reference survives as log Z (1/n_w − 1/n_l).

namespace kedge {

/// IPO with log-ratios averaged over tokens, as its authors use it: (a/n_w − b/n_l − 1/(2β))².       Azar et al. 2023
struct ipo {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true, reads_tokens = true;
  static constexpr double margin_degree = 2;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&ipo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.a() / pair.tokens_chosen - pair.b() / pair.tokens_rejected - 1 / (2 * beta);
    return {u * u, 2 * u / pair.tokens_chosen, -2 * u / pair.tokens_rejected};
  }
};

/// Length-normalised DPO: softplus(−β (a/n_w − b/n_l)).                                       Lambert et al. 2024
struct length_normalized_dpo {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true, reads_tokens = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&length_normalized_dpo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * (pair.a() / pair.tokens_chosen - pair.b() / pair.tokens_rejected);
    double const slope = -beta * detail::sigmoid(-z);
    return {detail::softplus(-z), slope / pair.tokens_chosen, -slope / pair.tokens_rejected};
  }
};

/// SimPO: softplus(−(β (p_w − p_l) − γ)), p = nats a token; no reference.                              Meng et al. 2024
struct simpo {
  double beta = 2;
  double gamma = 0.5;
  static constexpr bool shift_invariant = false, needs_reference = false, paired = true, reads_tokens = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&simpo::beta), detail::gamma_parameter(&simpo::gamma)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * (pair.mean_chosen() - pair.mean_rejected()) - gamma;
    double const slope = -beta * detail::sigmoid(-z);
    return {detail::softplus(-z), slope / pair.tokens_chosen, -slope / pair.tokens_rejected};
  }
};

/// AlphaPO: SimPO with the reward (1 − P^{−α})/α of the geometric mean probability P = e^p; α = 0 is SimPO.
///                                                                                               Gupta et al. 2025
struct alpha_po {
  double beta = 2;
  double gamma = 0.5;
  double alpha = 0.25;
  static constexpr bool shift_invariant = false, needs_reference = false, paired = true, reads_tokens = true;
  static constexpr auto parameters = std::tuple{
      detail::beta_parameter(&alpha_po::beta), detail::gamma_parameter(&alpha_po::gamma),
      parameter<alpha_po>{"alpha_po_alpha", &alpha_po::alpha, -unbounded, unbounded, "shape of the reward; 0 is SimPO"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const w = pair.mean_chosen(), l = pair.mean_rejected();
    double const z = beta * (reward(w) - reward(l)) - gamma;
    double const slope = -beta * detail::sigmoid(-z);
    return {detail::softplus(-z), slope * reward_slope(w) / pair.tokens_chosen,
            -slope * reward_slope(l) / pair.tokens_rejected};
  }

 private:
  [[nodiscard]] double reward(double p) const { return alpha == 0 ? p : (1 - detail::capped_exp(-alpha * p)) / alpha; }
  [[nodiscard]] double reward_slope(double p) const { return detail::capped_exp_slope(-alpha * p); }
};

/// ORPO's odds-ratio term: β softplus(−log(odds_w / odds_l)), odds = P/(1−P), P = e^{nats a token}.       Hong et al. 2024
/// The whole of ORPO is a mixture of sft, weight 1, and this.
struct orpo {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = false, paired = true, reads_tokens = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&orpo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const w = pair.mean_chosen(), l = pair.mean_rejected();
    double const odds = (w - l) - (detail::log1mexp(w) - detail::log1mexp(l));
    double const slope = -beta * detail::sigmoid(-odds);
    // d/dp [p − log(1 − e^p)] = 1/(1 − e^p)
    return {beta * detail::softplus(-odds), -slope / std::expm1(w) / pair.tokens_chosen,
            slope / std::expm1(l) / pair.tokens_rejected};
  }
};

/// CPO's preference term, DPO with a uniform reference: (1−ε) softplus(−z) + ε softplus(z), z = β (log π_w − log π_l).
/// The whole of CPO is a mixture of this and sft, weight 1.                                              Xu et al. 2024
struct cpo {
  double beta = 0.1;
  double label_smoothing = 0;
  static constexpr bool shift_invariant = true, needs_reference = false, paired = true;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&cpo::beta), detail::smoothing_parameter(&cpo::label_smoothing)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * (pair.logp_chosen - pair.logp_rejected), e = label_smoothing;
    return detail::of_margin((1 - e) * detail::softplus(-z) + e * detail::softplus(z),
                             beta * (e * detail::sigmoid(z) - (1 - e) * detail::sigmoid(-z)));
  }
};

/// SLiC-HF: max(0, δ − log π_w + log π_l) − λ log π_w.                                              Zhao et al. 2023
struct slic_hf {
  double delta = 1;
  double lambda = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = false, paired = true;
  static constexpr auto parameters = std::tuple{
      parameter<slic_hf>{"slic_delta", &slic_hf::delta, 0, unbounded, "margin of log-probabilities to reach, in nats"},
      parameter<slic_hf>{"slic_lambda", &slic_hf::lambda, 0, unbounded, "weight of the chosen log-probability"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const short_of = delta - pair.logp_chosen + pair.logp_rejected;
    double const active = short_of > 0 ? 1 : 0;
    return {detail::positive_part(short_of) - lambda * pair.logp_chosen, -active - lambda, active};
  }
};

}  // namespace kedge
