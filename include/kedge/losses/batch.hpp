// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <tuple>
#include <vector>

#include <kedge/detail/order.hpp>
#include <kedge/losses/evaluate.hpp>
#include <kedge/losses/margin.hpp>
#include <kedge/losses/single.hpp>

// Losses in which the pairs of a batch meet. They see the pairs that they are given: with gradient accumulation, unless the
// whole batch's log-probabilities are gathered first, the pairs of a micro-batch.

namespace kedge {

/// SFT: cross-entropy of the chosen completions, averaged over all their tokens; as a term of a mixture it makes RPO
/// (with dpo) and CPO.
/// math    n · (−Σ log π(y_w) / Σ n_w), so that the mean over n pairs is the mean over tokens
struct sft {
  static constexpr bool shift_invariant = false, needs_reference = false, paired = false, reads_tokens = true;
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    double sum = 0, tokens = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      sum += batch[i].logp_chosen;
      tokens += batch[i].tokens_chosen;
    }
    double const share = static_cast<double>(batch.size()) / tokens;
    for (double& slope : slopes.chosen) slope -= scale * share;
    return -share * sum;
  }
};

namespace detail {

// Σ_i (1−ε) softplus(−β δ_i) + ε softplus(β δ_i), δ_i = upper[i-th smallest] − lower[i-th smallest]; `add` receives the slope
// of each value. Sorting is a permutation, so a slope goes back to where its value came from.
template <class Add>
double sorted_link(std::vector<double> const& upper, std::vector<double> const& lower, double beta, double smoothing,
                   Add const& add) {
  std::vector<std::size_t> const up = ascending_order(upper), low = ascending_order(lower);
  double sum = 0;
  for (std::size_t i = 0; i < upper.size(); ++i) {
    double const z = beta * (upper[up[i]] - lower[low[i]]);
    sum += (1 - smoothing) * softplus(-z) + smoothing * softplus(z);
    add(up[i], low[i], beta * (smoothing * sigmoid(z) - (1 - smoothing) * sigmoid(-z)));
  }
  return sum;
}

inline void refuse_weights(pair_batch const& batch, char const* loss) {
  require(batch.weights.empty(), loss, ": weights of pairs have no meaning where pairs are sorted; leave them out");
}

}  // namespace detail

/// AOT, paired: margins of the policy dominate margins of the reference, quantile by quantile.       Melnyk et al. 2024
/// math    δ_i = sort(log π_w − log π_l)_i − sort(log ρ_w − log ρ_l)_i; Σ (1−ε) softplus(−βδ_i) + ε softplus(βδ_i)
struct aot {
  double beta = 0.1;
  double label_smoothing = 0;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr double margin_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&aot::beta), detail::smoothing_parameter(&aot::label_smoothing)};
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    detail::refuse_weights(batch, "aot");
    std::vector<double> policy(batch.size()), reference(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      policy[i] = batch[i].logp_chosen - batch[i].logp_rejected;
      reference[i] = batch[i].ref_chosen - batch[i].ref_rejected;
    }
    return detail::sorted_link(policy, reference, beta, label_smoothing, [&](std::size_t i, std::size_t, double slope) {
      slopes.chosen[i] += scale * slope;
      slopes.rejected[i] -= scale * slope;
    });
  }
};

/// AOT, unpaired: log-ratios of chosen completions dominate those of rejected ones.                  Melnyk et al. 2024
/// math    δ_i = sort(a)_i − sort(b)_i, the same link
struct aot_unpaired {
  double beta = 0.1;
  double label_smoothing = 0;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = false;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&aot_unpaired::beta), detail::smoothing_parameter(&aot_unpaired::label_smoothing)};
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    detail::refuse_weights(batch, "aot_unpaired");
    std::vector<double> chosen(batch.size()), rejected(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      chosen[i] = batch[i].a();
      rejected[i] = batch[i].b();
    }
    return detail::sorted_link(chosen, rejected, beta, label_smoothing, [&](std::size_t w, std::size_t l, double slope) {
      slopes.chosen[w] += scale * slope;
      slopes.rejected[l] -= scale * slope;
    });
  }
};

/// α-DPO: SimPO with a margin that follows the batch's z-scored DPO margins, held constant in the gradient.   Wu et al. 2024
/// math    softplus(−(β (p_w − p_l) − γ − α (h − mean h)/std h)), std with n − 1; one pair alone has z-score 0
struct alpha_dpo {
  double beta = 2;
  double gamma = 0.5;
  double alpha = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true, reads_tokens = true;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&alpha_dpo::beta), detail::gamma_parameter(&alpha_dpo::gamma),
                 parameter<alpha_dpo>{"alpha_dpo_alpha", &alpha_dpo::alpha, 0, unbounded, "weight of the z-scored margin"}};
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    auto const n = static_cast<double>(batch.size());
    double mean = 0, squares = 0, sum = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) mean += batch[i].margin() / n;
    for (std::size_t i = 0; i < batch.size(); ++i) squares += (batch[i].margin() - mean) * (batch[i].margin() - mean);
    double const deviation = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      pair_terms const pair = batch[i];
      double const standardized = deviation == 0 ? 0 : (pair.margin() - mean) / deviation;
      double const z = beta * (pair.mean_chosen() - pair.mean_rejected()) - gamma - alpha * standardized;
      double const weight = batch.weights.empty() ? 1 : batch.weights[i];
      double const slope = -weight * beta * detail::sigmoid(-z);
      sum += weight * detail::softplus(-z);
      slopes.chosen[i] += scale * slope / pair.tokens_chosen;
      slopes.rejected[i] -= scale * slope / pair.tokens_rejected;
    }
    return sum;
  }
};

/// β-DPO: DPO whose β follows the batch, held constant in the gradient. A batch with wide margins is held closer to the
/// reference.                                                                                    Wu et al. 2024 (β-DPO)
/// math    softplus(−β_B h), β_B = max(β (1 + α (mean h − M₀)), min(β, 10⁻³)), M₀ = threshold
/// The authors let M₀ follow the mean margin from batch to batch and draw the pairs that they use. Here M₀ is a number, nothing is
/// drawn, and the loss of a batch depends on that batch alone: resuming and evaluating need no state.
struct beta_dpo {
  double beta = 0.1;
  double alpha = 0.6;
  double threshold = 0;
  static constexpr bool shift_invariant = true, needs_reference = true, paired = true;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&beta_dpo::beta),
                 parameter<beta_dpo>{"beta_dpo_alpha", &beta_dpo::alpha, 0, unbounded,
                                     "how much beta follows the batch's mean margin, 1/nats; 0 is DPO"},
                 parameter<beta_dpo>{"beta_dpo_threshold", &beta_dpo::threshold, -unbounded, unbounded,
                                     "mean margin at which beta is itself, in nats"}};

  /// β_B of a batch.
  [[nodiscard]] double adapted_beta(pair_batch const& batch) const {
    constexpr double least = 1e-3;
    double mean = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) mean += batch[i].margin() / static_cast<double>(batch.size());
    double const adapted = beta * (1 + alpha * (mean - threshold)), floor = beta < least ? beta : least;
    return adapted < floor ? floor : adapted;
  }
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    return detail::add_slopes(dpo{adapted_beta(batch)}, batch, scale, slopes);
  }
};

/// KTO on paired data: the chosen half is judged against max(0, mean b), the rejected half against max(0, mean a), both
/// held constant in the gradient. The value is a completion's: the mean over 2n completions.
struct kto_pair {
  double beta = 0.1;
  double desirable_weight = 1, undesirable_weight = 1;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = true;
  static constexpr auto parameters =
      std::tuple{detail::beta_parameter(&kto_pair::beta), detail::desirable_parameter(&kto_pair::desirable_weight),
                 detail::undesirable_parameter(&kto_pair::undesirable_weight)};
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    std::vector<double> a(batch.size()), b(batch.size());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      a[i] = batch[i].a();
      b[i] = batch[i].b();
    }
    kto const chosen{beta, kto_kl(b), desirable_weight / 2, 0}, rejected{beta, kto_kl(a), 0, undesirable_weight / 2};
    return detail::add_slopes(chosen, batch, scale, slopes) + detail::add_slopes(rejected, batch, scale, slopes);
  }
};

}  // namespace kedge
