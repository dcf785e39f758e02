// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <tuple>

#include <kedge/losses/evaluate.hpp>
#include <kedge/losses/pair.hpp>

// Losses that judge each completion against its reference: a = log π(y_w)/ρ(y_w), b = log π(y_l)/ρ(y_l) enter separately,
// so the normaliser of the reference matters and extrapolation needs the extrapolated model.

namespace kedge {

namespace detail {

template <class Loss>
constexpr parameter<Loss> desirable_parameter(double Loss::* member) {
  return {"desirable_weight", member, 0, unbounded, "weight of chosen completions"};
}

template <class Loss>
constexpr parameter<Loss> undesirable_parameter(double Loss::* member) {
  return {"undesirable_weight", member, 0, unbounded, "weight of rejected completions"};
}

}  // namespace detail

/// NCA on a pair: softplus(−βa) + ½ softplus(βa) + ½ softplus(βb).                                    Chen et al. 2024
struct nca {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&nca::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.a(), v = beta * pair.b();
    return {detail::softplus(-u) + 0.5 * detail::softplus(u) + 0.5 * detail::softplus(v),
            beta * (0.5 * detail::sigmoid(u) - detail::sigmoid(-u)), 0.5 * beta * detail::sigmoid(v)};
  }
};

/// BCO: softplus(−(βa − d)) + softplus(βb − d), d = shift.                                            Jung et al. 2024
/// The paper's d is the running mean of all implicit rewards (bco_shift); TRL's bco_pair has d = 0.
struct bco {
  double beta = 0.1;
  double shift = 0;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&bco::beta),
                 parameter<bco>{"bco_shift", &bco::shift, -unbounded, unbounded, "d, what rewards are compared with"}};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.a() - shift, v = beta * pair.b() - shift;
    return {detail::softplus(-u) + detail::softplus(v), -beta * detail::sigmoid(-u), beta * detail::sigmoid(v)};
  }
};

/// Running mean of the implicit rewards βa and βb of both classes: BCO's shift. Update it, then evaluate bco with it.
struct bco_shift {
  double mean = 0;
  std::size_t count = 0;
  void update(pair_batch const& batch, double beta) {
    for (std::size_t i = 0; i < batch.size(); ++i)
      for (double const ratio : {batch[i].a(), batch[i].b()}) mean += (beta * ratio - mean) / static_cast<double>(++count);
  }
};

/// SPPO with hard labels: (a − 1/(2β))² + (b + 1/(2β))².                                                Wu et al. 2024
struct sppo_hard {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&sppo_hard::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.a() - 1 / (2 * beta), v = pair.b() + 1 / (2 * beta);
    return {u * u + v * v, 2 * u, 2 * v};
  }
};

/// SPPO with win rates P against the anchor as scores: ½ (a − (P_w − ½)/β)² + ½ (b − (P_l − ½)/β)².         Wu et al. 2024
struct sppo {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false, reads_scores = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&sppo::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.a() - (pair.score_chosen - 0.5) / beta, v = pair.b() - (pair.score_rejected - 0.5) / beta;
    return {0.5 * (u * u + v * v), u, v};
  }
};

/// *Anchored* preference optimization, zero: 1 − σ(βa) + σ(βb).                                D'Oosterlinck et al. 2024, eq. 7
struct anchored_zero {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&anchored_zero::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.a(), v = beta * pair.b();
    return {detail::sigmoid(-u) + detail::sigmoid(v), -beta * detail::sigmoid_slope(u), beta * detail::sigmoid_slope(v)};
  }
};

/// *Anchored* preference optimization, down: σ(βa) + 1 − σ(z).                                 D'Oosterlinck et al. 2024, eq. 8
struct anchored_down {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true;
  static constexpr auto parameters = std::tuple{detail::beta_parameter(&anchored_down::beta)};
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * pair.a(), z = beta * pair.margin();
    double const slope = beta * detail::sigmoid_slope(z);
    return {detail::sigmoid(u) + detail::sigmoid(-z), beta * detail::sigmoid_slope(u) - slope, slope};
  }
};

/// KTO: λ_D (1 − σ(β(a − k))) + λ_U (1 − σ(β(k − b))), k = max(0, mean log-ratio of mismatched pairs).  Ethayarajh et al. 2024
/// The value is a pair's; TRL averages over completions, which is half of it.
struct kto {
  double beta = 0.1;
  double kl = 0;
  double desirable_weight = 1, undesirable_weight = 1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&kto::beta),
                 parameter<kto>{"kto_kl", &kto::kl, 0, unbounded, "k, what log-ratios are compared with"},
                 detail::desirable_parameter(&kto::desirable_weight), detail::undesirable_parameter(&kto::undesirable_weight)};

  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = beta * (pair.a() - kl), v = beta * (kl - pair.b());
    return {desirable_weight * detail::sigmoid(-u) + undesirable_weight * detail::sigmoid(-v),
            -desirable_weight * beta * detail::sigmoid_slope(u), undesirable_weight * beta * detail::sigmoid_slope(v)};
  }
};

/// KTO's k from log-ratios of completions paired with prompts they don't answer: their mean, not below 0.
/// throws  std::invalid_argument if there are none
[[nodiscard]] inline double kto_kl(std::span<double const> mismatched_log_ratios) {
  detail::require(!mismatched_log_ratios.empty(), "kto_kl: no log-ratios; pass at least one");
  double sum = 0;
  for (double const ratio : mismatched_log_ratios) sum += ratio;
  double const mean = sum / static_cast<double>(mismatched_log_ratios.size());
  return mean < 0 ? 0 : mean;
}

}  // namespace kedge
