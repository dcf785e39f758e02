// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/losses/single.hpp>

// Losses of completions that come one by one, each with a label: it is desirable, or it isn't. No two of them need answer the same prompt.

namespace kedge {

/// What a loss sees of one completion. Log-probabilities are sums over its tokens, in nats.
struct labelled_terms {
  double logp = 0, ref = 0;
  bool desirable = true;

  [[nodiscard]] double log_ratio() const { return logp - ref; }
};

/// A completion's loss and its slope with respect to logp.
struct labelled_slope {
  double value, slope;
};

/// KTO of single completions, with r = log π(y)/ρ(y):                                              Ethayarajh et al. 2024, eq. 7
///   λ_D (1 − σ(β(r − k))) for a desirable one, λ_U (1 − σ(β(k − r))) for another; k ≥ 0 is kto_kl of the batch, a constant to the slope.
/// With k = 0 it is anchored zero of single completions, TRL's apo_zero_unpaired.               D'Oosterlinck et al. 2024, eq. 7
struct unpaired_kto {
  double beta = 0.1;
  double kl = 0;
  double desirable_weight = 1, undesirable_weight = 1;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&unpaired_kto::beta),
                 parameter<unpaired_kto>{"kto_kl", &unpaired_kto::kl, 0, unbounded, "k, what log-ratios are compared with"},
                 detail::desirable_parameter(&unpaired_kto::desirable_weight), detail::undesirable_parameter(&unpaired_kto::undesirable_weight)};

  [[nodiscard]] labelled_slope operator()(labelled_terms const& one) const {
    double const u = beta * (one.log_ratio() - kl), weight = one.desirable ? desirable_weight : undesirable_weight;
    return {weight * detail::sigmoid(one.desirable ? -u : u), (one.desirable ? -weight : weight) * beta * detail::sigmoid_slope(u)};
  }
};

}  // namespace kedge
