// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include <kedge/losses/pair.hpp>
#include <kedge/reference.hpp>

namespace kedge {

/// Log-probabilities of n pairs that someone else owns.
struct pair_log_probs_view {
  std::span<double const> chosen{}, rejected{};

  pair_log_probs_view() = default;
  pair_log_probs_view(std::span<double const> of_chosen, std::span<double const> of_rejected)
      : chosen(of_chosen), rejected(of_rejected) {}
  pair_log_probs_view(pair_log_probs const& owner) : chosen(owner.chosen), rejected(owner.rejected) {}

  [[nodiscard]] std::size_t size() const { return chosen.size(); }
};

/// The pairs of a batch with everything a loss may read, as views: whoever owns the numbers keeps them until the loss is computed.
/// What a loss doesn't read may be empty.
struct pair_batch {
  pair_log_probs_view logp, reference{};
  std::span<double const> tokens_chosen{}, tokens_rejected{};
  std::span<double const> score_chosen{}, score_rejected{};  ///< rewards or win rates
  std::span<double const> weights{};  ///< of the pairs, constants to the gradient; empty: 1 (WPO: wpo_weight)

  [[nodiscard]] std::size_t size() const { return logp.size(); }
  [[nodiscard]] pair_terms operator[](std::size_t i) const {
    auto at = [i](auto const& values, double otherwise) { return values.empty() ? otherwise : values[i]; };
    return {logp.chosen[i],       logp.rejected[i],       at(reference.chosen, 0), at(reference.rejected, 0),
            at(tokens_chosen, 1), at(tokens_rejected, 1), at(score_chosen, 0),     at(score_rejected, 0)};
  }
};

/// A loss of a whole batch: sorts, batch statistics, mixtures. Returns the sum of values over pairs and adds the slopes
/// of that sum, times `scale`, to `slopes`. It sees the pairs it is given: with micro-batches, only those.
template <class Loss>
concept batch_loss =
    loss_traits<Loss> && requires(Loss const& loss, pair_batch const& batch, double scale, pair_log_probs& slopes) {
      { loss(batch, scale, slopes) } -> std::same_as<double>;
    };

template <class Loss>
concept preference_loss_type = pair_loss<Loss> || batch_loss<Loss>;

/// Value of a preference loss and its gradient with respect to the log-probabilities.
struct loss_and_cotangent {
  double value;
  pair_log_probs cotangent;
};

namespace detail {

template <preference_loss_type Loss>
double add_slopes(Loss const& loss, pair_batch const& batch, double scale, pair_log_probs& slopes) {
  if constexpr (batch_loss<Loss>) {
    return loss(batch, scale, slopes);
  } else {
    double sum = 0;
    for (std::size_t i = 0; i < batch.size(); ++i) {
      pair_slopes const pair = loss(batch[i]);
      double const weight = batch.weights.empty() ? 1 : batch.weights[i];
      sum += weight * pair.value;
      slopes.chosen[i] += scale * weight * pair.chosen;
      slopes.rejected[i] += scale * weight * pair.rejected;
    }
    return sum;
  }
}

template <class Loss>
void check_loss(Loss const& loss) {
  check_parameters(loss);
  if constexpr (requires { loss.check(); }) loss.check();
}

template <class Loss>
void check_batch(pair_batch const& batch) {
  std::size_t const n = batch.size();
  require(n > 0, "preference_loss: no pairs; pass at least one");
  require(batch.logp.rejected.size() == n, "preference_loss: ", n, " chosen but ", batch.logp.rejected.size(),
          " rejected log-probabilities; pass one pair a prompt");
  auto matches = [n](auto const& values, char const* what) {
    require(values.size() == n || values.empty(), "preference_loss: ", values.size(), " ", what, " for ", n,
            " pairs; pass one of each a pair");
  };
  matches(batch.reference.chosen, "reference log-probabilities of chosen completions");
  matches(batch.reference.rejected, "reference log-probabilities of rejected completions");
  matches(batch.tokens_chosen, "token counts of chosen completions");
  matches(batch.tokens_rejected, "token counts of rejected completions");
  matches(batch.score_chosen, "scores of chosen completions");
  matches(batch.score_rejected, "scores of rejected completions");
  matches(batch.weights, "weights");
  require(!Loss::needs_reference || (!batch.reference.chosen.empty() && !batch.reference.rejected.empty()),
          "preference_loss: this loss needs reference log-probabilities; score the anchor first");
  require(!reads_tokens<Loss> || (!batch.tokens_chosen.empty() && !batch.tokens_rejected.empty()),
          "preference_loss: this loss needs the number of tokens of every completion; pass tokens_chosen and tokens_rejected");
  require(!reads_scores<Loss> || (!batch.score_chosen.empty() && !batch.score_rejected.empty()),
          "preference_loss: this loss needs a score of every completion; add score_chosen and score_rejected to the data");
}

}  // namespace detail

/// Preference loss of a batch of n pairs, or of a micro-batch of a batch of `total` pairs.
/// math    L = (1/total) Σ w_i ℓ_i; cotangent = ∂L/∂logp                                     docs/math.md (2)
/// shapes  [n] everywhere
/// throws  std::invalid_argument if sizes differ, n = 0, something the loss reads is missing or its settings cannot work
/// cost    O(n), O(n log n) for losses that sort; no allocation beyond the result
/// A NaN among the log-probabilities comes out as a NaN value: divergence is a result.
template <preference_loss_type Loss>
[[nodiscard]] loss_and_cotangent preference_loss(Loss const& loss, pair_batch const& batch, std::size_t total = 0) {
  detail::check_loss(loss);
  detail::check_batch<Loss>(batch);
  std::size_t const n = batch.size();
  double const scale = 1 / static_cast<double>(total == 0 ? n : total);
  loss_and_cotangent result{0, {std::vector<double>(n), std::vector<double>(n)}};
  result.value = scale * detail::add_slopes(loss, batch, scale, result.cotangent);
  return result;
}

}  // namespace kedge
