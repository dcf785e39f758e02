// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <tuple>
#include <utility>

#include <kedge/losses/batch.hpp>
#include <kedge/losses/evaluate.hpp>

// What turns one loss into another: mixtures, other divergences than reverse KL, weights of tokens and pairs.

namespace kedge {

/// Weighted sum of losses: RPO = dpo + α sft, MPO = 0.8 dpo + 0.2 bco + sft.
template <preference_loss_type... Losses>
  requires(sizeof...(Losses) > 0)
struct mixture {
  std::tuple<Losses...> losses;
  std::array<double, sizeof...(Losses)> weights;

  static constexpr bool shift_invariant = (Losses::shift_invariant && ...);
  static constexpr bool needs_reference = (Losses::needs_reference || ...);
  static constexpr bool paired = (Losses::paired || ...);
  static constexpr bool reads_tokens = (kedge::reads_tokens<Losses> || ...);
  static constexpr bool reads_scores = (kedge::reads_scores<Losses> || ...);

  [[nodiscard]] auto parts() {
    return std::apply([](auto&... loss) { return std::tie(loss...); }, losses);
  }
  [[nodiscard]] auto parts() const {
    return std::apply([](auto&... loss) { return std::tie(loss...); }, losses);
  }
  void check() const {
    for (double const weight : weights)
      detail::require(std::isfinite(weight), "mixture: weight ", weight, "; weights must be finite");
  }

  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    double sum = 0;
    std::size_t i = 0;
    auto add = [&](auto const& loss) {
      double const weight = weights[i++];
      sum += weight * detail::add_slopes(loss, batch, weight * scale, slopes);
    };
    std::apply([&](Losses const&... loss) { (add(loss), ...); }, losses);
    return sum;
  }
};

template <preference_loss_type... Losses>
mixture(std::tuple<Losses...>, std::array<double, sizeof...(Losses)>) -> mixture<Losses...>;

/// A loss and, times `weight`, the cross-entropy of the chosen completions: the whole of CPO, and TRL's SimPO.
template <preference_loss_type Loss>
struct with_sft {
  Loss loss;
  double weight = 1;

  static constexpr bool shift_invariant = false, needs_reference = Loss::needs_reference, paired = Loss::paired;
  static constexpr bool reads_tokens = true, reads_scores = kedge::reads_scores<Loss>;
  static constexpr auto parameters = std::tuple{
      parameter<with_sft>{"cpo_alpha", &with_sft::weight, 0, unbounded, "weight of the cross-entropy of chosen completions"}};

  [[nodiscard]] auto parts() { return std::tie(loss); }
  [[nodiscard]] auto parts() const { return std::tie(loss); }
  double operator()(pair_batch const& batch, double scale, pair_log_probs& slopes) const {
    double const own = detail::add_slopes(loss, batch, scale, slopes);
    return own + weight * sft{}(batch, weight * scale, slopes);
  }
};

template <preference_loss_type Loss>
with_sft(Loss) -> with_sft<Loss>;
template <preference_loss_type Loss>
with_sft(Loss, double) -> with_sft<Loss>;

// A score s(x) = f′(eˣ) up to a constant takes the place of the log-ratio x when KL(π‖ρ) is replaced by the f-divergence.
//                                                                                              Wang et al. 2024 (f-DPO)

/// s(x) and s′(x).
struct score_slope {
  double score, slope;
};

/// 1 − e^{−x}; the exponent is capped at 80.
struct forward_kl {
  score_slope operator()(double x) const { return {1 - detail::capped_exp(-x), detail::capped_exp_slope(-x)}; }
};

/// log 2 + log σ(x).
struct jensen_shannon {
  score_slope operator()(double x) const { return {0.6931471805599453 - detail::softplus(-x), detail::sigmoid(-x)}; }
};

/// (e^{(α−1) x} − 1)/(α − 1), x itself at α = 1; the exponent is capped at 80.
struct alpha_divergence {
  double alpha = 0.5;
  static constexpr auto parameters = std::tuple{parameter<alpha_divergence>{
      "f_alpha_divergence_coef", &alpha_divergence::alpha, -unbounded, unbounded, "α of the α-divergence; 1 is reverse KL"}};
  score_slope operator()(double x) const {
    double const c = alpha - 1;
    if (std::abs(c) < 1e-6) return {x, 1};
    return {(detail::capped_exp(c * x) - 1) / c, detail::capped_exp_slope(c * x)};
  }
};

/// A loss of log-ratios with another divergence: a and b are replaced by s(a) and s(b). Not shift-invariant.
template <class Score, pair_loss Loss>
  requires(Loss::needs_reference && log_ratios_only<Loss>)
struct with_divergence {
  Score score;
  Loss loss;
  static constexpr bool shift_invariant = false, needs_reference = true, paired = Loss::paired;
  static constexpr bool reads_tokens = kedge::reads_tokens<Loss>, reads_scores = kedge::reads_scores<Loss>;

  [[nodiscard]] auto parts() { return std::tie(score, loss); }
  [[nodiscard]] auto parts() const { return std::tie(score, loss); }
  [[nodiscard]] pair_slopes operator()(pair_terms pair) const {
    score_slope const chosen = score(pair.a()), rejected = score(pair.b());
    pair.logp_chosen = chosen.score;
    pair.logp_rejected = rejected.score;
    pair.ref_chosen = pair.ref_rejected = 0;
    pair_slopes const inner = loss(pair);
    return {inner.value, inner.chosen * chosen.slope, inner.rejected * rejected.slope};
  }
};

template <class Score, pair_loss Loss>
with_divergence(Score, Loss) -> with_divergence<Score, Loss>;

/// LD-DPO's weight of token `position` (from 0): 1 up to the length that chosen and rejected share, α after it. The
/// log-probability of policy and reference is then Σ weight · log π(token).                              Liu et al. 2024
/// throws  std::invalid_argument unless 0 ≤ α ≤ 1
[[nodiscard]] inline double length_desensitized_weight(std::size_t position, std::size_t shared_length, double alpha) {
  detail::require(alpha >= 0 && alpha <= 1, "ld_alpha = ", alpha, "; it must be between 0 and 1");
  return position < shared_length ? 1 : alpha;
}

/// WPO's weight of a completion, exp(mean_t [log π(y_t) − log Σ_v π(v)²]); a pair's weight is the product of its two. 1 for
/// a completion that the policy itself would sample, less for one it would not.                         Zhou et al. 2024
/// throws  std::invalid_argument if there are no tokens or the counts differ
[[nodiscard]] inline double wpo_weight(std::span<double const> token_log_probs, std::span<double const> log_sum_squares) {
  detail::require(!token_log_probs.empty() && token_log_probs.size() == log_sum_squares.size(),
                  "wpo_weight: ", token_log_probs.size(), " log-probabilities and ", log_sum_squares.size(),
                  " log Σ π²; pass one of each a token, and at least one token");
  double sum = 0;
  for (std::size_t t = 0; t < token_log_probs.size(); ++t) sum += token_log_probs[t] - log_sum_squares[t];
  return std::exp(sum / static_cast<double>(token_log_probs.size()));
}

}  // namespace kedge
