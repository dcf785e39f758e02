// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <optional>

#include <kedge/detail/ranges.hpp>

namespace kedge {

/// What a loss sees of one pair. Log-probabilities are sums over the completion's tokens, in nats.
struct pair_terms {
  double logp_chosen = 0, logp_rejected = 0;
  double ref_chosen = 0, ref_rejected = 0;
  double tokens_chosen = 1, tokens_rejected = 1;
  double score_chosen = 0, score_rejected = 0;  ///< rewards or win rates of the completions, for losses that read them

  [[nodiscard]] double a() const { return logp_chosen - ref_chosen; }               ///< log-ratio of the chosen completion
  [[nodiscard]] double b() const { return logp_rejected - ref_rejected; }           ///< log-ratio of the rejected completion
  [[nodiscard]] double margin() const { return a() - b(); }                         ///< h
  [[nodiscard]] double mean_chosen() const { return logp_chosen / tokens_chosen; }  ///< nats a token
  [[nodiscard]] double mean_rejected() const { return logp_rejected / tokens_rejected; }  ///< nats a token
  [[nodiscard]] double score_gap() const { return score_chosen - score_rejected; }
};

/// A pair's loss and its slopes with respect to logp_chosen and logp_rejected.
struct pair_slopes {
  double value, chosen, rejected;
};

// Every loss is a small type. Its static members say at compile time
//   shift_invariant   a constant added to both log-ratios of a prompt changes nothing: an unnormalised effective
//                     reference may be used, so sequence-level extrapolation is exact
//   needs_reference   reads ref_chosen, ref_rejected
//   paired            chosen and rejected must answer the same prompt; otherwise the loss is a sum over single completions
//   reads_tokens      reads tokens_chosen, tokens_rejected (left out: it doesn't)
//   reads_scores      reads score_chosen, score_rejected (left out: it doesn't)
//   margin_degree     s, where the loss is β^{−s} ℓ₁(β h) of the margin h, averaged over tokens perhaps (left out: it isn't);
//                     a null baseline of momentum rests on it                                      docs/math.md (7′)
//   parameters        its numbers: names, members, ranges (detail/parameters.hpp)
// preference_loss refuses a number out of its range, and a batch without what the loss reads. A loss made of losses gives them
// as a tuple of references by a member parts(). A member check() refuses what no range can say.

template <class Loss>
concept loss_traits = requires {
  { Loss::shift_invariant } -> std::convertible_to<bool>;
  { Loss::needs_reference } -> std::convertible_to<bool>;
  { Loss::paired } -> std::convertible_to<bool>;
};

/// A loss of one pair at a time. Losses that compare pairs with each other take the whole batch; see batch_loss.
template <class Loss>
concept pair_loss = loss_traits<Loss> && requires(Loss const& loss, pair_terms const& pair) {
  { loss(pair) } -> std::same_as<pair_slopes>;
};

/// Whether a loss reads score_chosen and score_rejected: it says so with a static member reads_scores.
template <class Loss>
inline constexpr bool reads_scores = [] {
  if constexpr (requires { Loss::reads_scores; })
    return Loss::reads_scores;
  else
    return false;
}();

/// s, where the loss is β^{−s} ℓ₁(β h) of the margin: it says so with a static member margin_degree.
template <class Loss>
inline constexpr std::optional<double> margin_degree = [] {
  if constexpr (requires { Loss::margin_degree; })
    return std::optional<double>(Loss::margin_degree);
  else
    return std::optional<double>();
}();

/// Whether a loss reads tokens_chosen and tokens_rejected: it says so with a static member reads_tokens.
template <class Loss>
inline constexpr bool reads_tokens = [] {
  if constexpr (requires { Loss::reads_tokens; })
    return Loss::reads_tokens;
  else
    return false;
}();

/// Whether a loss of one pair reads the reference through the log-ratios a and b alone, so that another divergence than KL can
/// take their place. A loss that looks at the reference itself says no with a static member log_ratios_only.
template <class Loss>
inline constexpr bool log_ratios_only = [] {
  if constexpr (requires { Loss::log_ratios_only; })
    return Loss::log_ratios_only;
  else
    return pair_loss<Loss> && Loss::needs_reference;
}();

namespace detail {

inline double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  double const e = std::exp(x);
  return e / (1 + e);
}

// log(1 + eˣ), exact for every x.
inline double softplus(double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))); }

// σ′(x) = σ(x) σ(−x), without cancellation on either side.
inline double sigmoid_slope(double x) { return sigmoid(x) * sigmoid(-x); }

// log(1 − eˣ) for x < 0, exact near 0 and far from it.
inline double log1mexp(double x) { return x < -0.6931471805599453 ? std::log1p(-std::exp(x)) : std::log(-std::expm1(x)); }

// eˣ up to x = 80, as TRL caps it in single precision: what it enters stays finite.
inline constexpr double exponent_cap = 80;
inline double capped_exp(double x) { return std::exp(x < exponent_cap ? x : exponent_cap); }
inline double capped_exp_slope(double x) { return x < exponent_cap ? std::exp(x) : 0; }

// A loss of the margin alone: slope of chosen and rejected are opposite.
inline pair_slopes of_margin(double value, double slope) { return {value, slope, -slope}; }

// max(0, x), NaN stays.
inline double positive_part(double x) { return x > 0 ? x : x != x ? x : 0; }

// Parameters that several losses have.
inline constexpr char const* beta_name = "beta";  // the pointer itself tells it from others

template <class Loss>
constexpr parameter<Loss> beta_parameter(double Loss::* member) {
  return {beta_name, member, 0, unbounded, "weight of the reference: what multiplies log-ratios", true};
}

template <class Loss>
constexpr parameter<Loss> smoothing_parameter(double Loss::* member, double below = 1, bool above_zero = false) {
  return {"label_smoothing", member, 0, below, "share of labels taken to be wrong", above_zero, true};
}

template <class Loss>
constexpr parameter<Loss> gamma_parameter(double Loss::* member) {
  return {"simpo_gamma", member, 0, unbounded, "target margin, in units of beta times nats a token"};
}

}  // namespace detail

}  // namespace kedge
