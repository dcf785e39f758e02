// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>
#include <kedge/reference.hpp>

namespace kedge {

/// What a loss sees of one pair. Log-probabilities are sums over the completion's tokens, in nats.
struct pair_terms {
  double logp_chosen = 0, logp_rejected = 0;
  double ref_chosen = 0, ref_rejected = 0;
  double tokens_chosen = 1, tokens_rejected = 1;

  [[nodiscard]] double a() const { return logp_chosen - ref_chosen; }      ///< log-ratio of the chosen completion
  [[nodiscard]] double b() const { return logp_rejected - ref_rejected; }  ///< log-ratio of the rejected completion
  [[nodiscard]] double margin() const { return a() - b(); }                ///< h
};

/// A pair's loss and its slopes with respect to logp_chosen and logp_rejected.
struct pair_slopes {
  double value, chosen, rejected;
};

namespace detail {

inline double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  double const e = std::exp(x);
  return e / (1 + e);
}

// log(1 + eˣ), exact for every x.
inline double softplus(double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))); }

// A loss of the margin alone: slope of chosen and rejected are opposite.
inline pair_slopes of_margin(double value, double slope) { return {value, slope, -slope}; }

}  // namespace detail

// Every loss is a small type. Its static members say at compile time
//   shift_invariant   a constant added to both log-ratios of a prompt changes nothing: an unnormalised effective
//                     reference may be used, so sequence-level extrapolation is exact
//   needs_reference   reads ref_chosen, ref_rejected

/// DPO: softplus(−β h).                                                       docs/math.md (1), Rafailov et al. 2023
struct dpo {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return detail::of_margin(detail::softplus(-z), -beta * detail::sigmoid(-z));
  }
};

/// Conservative DPO: labels are wrong with probability ε. (1−ε) softplus(−z) + ε softplus(z), z = β h.   Mitchell 2023
struct cdpo {
  double beta = 0.1;
  double label_smoothing = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return detail::of_margin((1 - label_smoothing) * detail::softplus(-z) + label_smoothing * detail::softplus(z),
                             beta * (detail::sigmoid(z) - (1 - label_smoothing)));
  }
};

/// Robust DPO: unbiased under labels flipped with probability ε < ½.                      Chowdhury et al. 2024
/// math    [(1−ε) softplus(−z) − ε softplus(z)] / (1 − 2ε), z = β h
struct robust_dpo {
  double beta = 0.1;
  double label_smoothing = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin(), e = label_smoothing, scale = 1 / (1 - 2 * e);
    return detail::of_margin(scale * ((1 - e) * detail::softplus(-z) - e * detail::softplus(z)),
                             -beta * scale * ((1 - e) * detail::sigmoid(-z) + e * detail::sigmoid(z)));
  }
};

/// Hinge: max(0, 1 − β h); slope 0 at the kink.                               Zhao et al. 2023, Liu et al. 2023
struct hinge {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const z = beta * pair.margin();
    return z < 1 ? detail::of_margin(1 - z, -beta) : detail::of_margin(0, 0);
  }
};

/// IPO with log-ratios averaged over tokens, as its authors use it: (a/n_w − b/n_l − 1/(2β))².       Azar et al. 2023
/// Not shift-invariant: the normaliser of an effective reference survives as log Z (1/n_w − 1/n_l).
struct ipo {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.a() / pair.tokens_chosen - pair.b() / pair.tokens_rejected - 1 / (2 * beta);
    return {u * u, 2 * u / pair.tokens_chosen, -2 * u / pair.tokens_rejected};
  }
};

/// IPO on summed log-ratios: (h − 1/(2β))².                                              Azar et al. 2023, eq. 17
struct ipo_sum {
  double beta = 0.1;
  static constexpr bool shift_invariant = true, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.margin() - 1 / (2 * beta);
    return detail::of_margin(u * u, 2 * u);
  }
};

/// SPPO with hard labels: (a − 1/(2β))² + (b + 1/(2β))².                                         Wu et al. 2024
struct sppo_hard {
  double beta = 0.1;
  static constexpr bool shift_invariant = false, needs_reference = true;
  [[nodiscard]] pair_slopes operator()(pair_terms const& pair) const {
    double const u = pair.a() - 1 / (2 * beta), v = pair.b() + 1 / (2 * beta);
    return {u * u + v * v, 2 * u, 2 * v};
  }
};

/// A loss of one pair at a time. Losses that compare pairs with each other take the whole batch; see batch_loss.
template <class Loss>
concept pair_loss = requires(Loss const& loss, pair_terms const& pair) {
  { loss(pair) } -> std::same_as<pair_slopes>;
  { Loss::shift_invariant } -> std::convertible_to<bool>;
  { Loss::needs_reference } -> std::convertible_to<bool>;
};

/// The pairs of a batch with everything a loss may read. reference may be empty for losses that need none.
struct pair_batch {
  pair_log_probs const& logp;
  pair_log_probs const& reference;
  std::span<double const> tokens_chosen, tokens_rejected;

  [[nodiscard]] std::size_t size() const { return logp.size(); }
  [[nodiscard]] pair_terms operator[](std::size_t i) const {
    return {logp.chosen[i],
            logp.rejected[i],
            reference.chosen.empty() ? 0 : reference.chosen[i],
            reference.rejected.empty() ? 0 : reference.rejected[i],
            tokens_chosen.empty() ? 1 : tokens_chosen[i],
            tokens_rejected.empty() ? 1 : tokens_rejected[i]};
  }
};

/// A loss of a whole batch: sorts, running means, weights. Returns the sum of values and the slope of that sum.
template <class Loss>
concept batch_loss = requires(Loss const& loss, pair_batch const& batch, pair_log_probs& slopes) {
  { loss(batch, slopes) } -> std::same_as<double>;
  { Loss::shift_invariant } -> std::convertible_to<bool>;
  { Loss::needs_reference } -> std::convertible_to<bool>;
};

template <class Loss>
concept preference_loss_type = pair_loss<Loss> || batch_loss<Loss>;

/// Value of a preference loss and its gradient with respect to the log-probabilities.
struct loss_and_cotangent {
  double value;
  pair_log_probs cotangent;
};

/// Preference loss of a batch of n pairs, or of a micro-batch of a batch of `total` pairs.
/// math    L = (1/total) Σ ℓ_i; cotangent = ∂L/∂logp                                     docs/math.md (2)
/// shapes  [n] everywhere
/// throws  std::invalid_argument if sizes differ or n = 0
/// cost    O(n), no allocation beyond the result
template <preference_loss_type Loss>
[[nodiscard]] loss_and_cotangent preference_loss(Loss const& loss, pair_batch const& batch, std::size_t total = 0) {
  std::size_t const n = batch.size();
  detail::require(n > 0, "preference_loss: no pairs; pass at least one");
  detail::require(batch.logp.rejected.size() == n, "preference_loss: ", n, " chosen but ", batch.logp.rejected.size(),
                  " rejected log-probabilities; pass one pair a prompt");
  auto matches = [n](std::size_t size) { return size == n || size == 0; };
  detail::require(matches(batch.reference.chosen.size()) && matches(batch.reference.rejected.size()) &&
                      matches(batch.tokens_chosen.size()) && matches(batch.tokens_rejected.size()),
                  "preference_loss: reference or token counts don't match the ", n, " pairs; pass one of each a pair");
  detail::require(!Loss::needs_reference || !batch.reference.chosen.empty(),
                  "preference_loss: this loss needs reference log-probabilities; score the anchor first");
  double const scale = 1 / static_cast<double>(total == 0 ? n : total);
  loss_and_cotangent result{0, {std::vector<double>(n), std::vector<double>(n)}};
  if constexpr (pair_loss<Loss>) {
    for (std::size_t i = 0; i < n; ++i) {
      pair_slopes const slopes = loss(batch[i]);
      result.value += slopes.value;
      result.cotangent.chosen[i] = scale * slopes.chosen;
      result.cotangent.rejected[i] = scale * slopes.rejected;
    }
  } else {
    result.value = loss(batch, result.cotangent);
    for (double& slope : result.cotangent.chosen) slope *= scale;
    for (double& slope : result.cotangent.rejected) slope *= scale;
  }
  result.value *= scale;
  return result;
}

}  // namespace kedge
