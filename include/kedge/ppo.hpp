// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>

// The mathematics of PPO with a KL penalty to a reference, on plain doubles; SALSA is this with a soup as the reference.
// docs/math.md (10)                                                               Schulman et al. 2016, 2017; Ziegler et al.
// 2019

namespace kedge {

/// Estimators of KL(π ‖ ρ) from a sample of π, d = log π − log ρ, with the slope in log π.
struct kl_term {
  double value, slope;
};
/// d: unbiased, of either sign; the one for rewards.
[[nodiscard]] inline kl_term kl_k1(double d) { return {d, 1}; }
/// d²/2: biased, small variance.
[[nodiscard]] inline kl_term kl_k2(double d) { return {d * d / 2, d}; }
/// e^{−d} − 1 + d: unbiased and never negative.
[[nodiscard]] inline kl_term kl_k3(double d) { return {std::expm1(-d) + d, -std::expm1(-d)}; }

/// What generalized advantage estimation gives for the tokens of one completion.
struct advantages {
  std::vector<double> advantage, returns;
};

/// Generalized advantage estimation over one completion, whose end is terminal.
/// math    δ_t = r_t + γ V_{t+1} − V_t, A_t = δ_t + γλ A_{t+1}, V beyond the end 0; returns = A + V
/// throws  std::invalid_argument if sizes differ
[[nodiscard]] inline advantages generalized_advantages(std::span<double const> rewards, std::span<double const> values,
                                                       double gamma = 1, double lambda = 0.95) {
  detail::require(rewards.size() == values.size(), "generalized_advantages: ", rewards.size(), " rewards and ", values.size(),
                  " values; pass one of each a token");
  advantages result{std::vector<double>(rewards.size()), std::vector<double>(rewards.size())};
  double next_value = 0, next_advantage = 0;
  for (std::size_t t = rewards.size(); t-- > 0;) {
    double const delta = rewards[t] + gamma * next_value - values[t];
    next_advantage = delta + gamma * lambda * next_advantage;
    next_value = values[t];
    result.advantage[t] = next_advantage;
    result.returns[t] = next_advantage + values[t];
  }
  return result;
}

/// Rewards of a completion's tokens: −β (KL_t − baseline) each, the score added at the last. A baseline above 0 is SALSA's
/// length-tax guard: see kl_per_token.
/// throws  std::invalid_argument if there are no tokens
[[nodiscard]] inline std::vector<double> token_rewards(std::span<double const> kl, double score, double beta,
                                                       double baseline = 0) {
  detail::require(!kl.empty(), "token_rewards: no tokens; a completion has at least its end-of-turn token");
  std::vector<double> rewards(kl.size());
  for (std::size_t t = 0; t < kl.size(); ++t) rewards[t] = -beta * (kl[t] - baseline);
  rewards.back() += score;
  return rewards;
}

/// Values less their mean over their deviation, as TRL does it: variance with n − 1, plus 1e-8. `keep_mean` adds it back.
/// throws  std::invalid_argument for fewer than two values
inline void whiten(std::span<double> values, bool keep_mean = false) {
  detail::require(values.size() > 1, "whiten: ", values.size(), " values; a variance needs at least two");
  auto const n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double const value : values) mean += value / n;
  for (double const value : values) squares += (value - mean) * (value - mean);
  double const scale = 1 / std::sqrt(squares / (n - 1) + 1e-8);
  for (double& value : values) value = (value - mean) * scale + (keep_mean ? mean : 0);
}

/// REINFORCE leave-one-out: each reward of a prompt's completions less the mean of the others.             Ahmadian et al. 2024
/// throws  std::invalid_argument for fewer than two rewards
inline void leave_one_out(std::span<double> group) {
  detail::require(group.size() > 1, "leave_one_out: ", group.size(), " rewards; a prompt needs at least two completions");
  auto const n = static_cast<double>(group.size());
  double mean = 0;
  for (double const reward : group) mean += reward / n;
  for (double& reward : group) reward = (reward - mean) * n / (n - 1);
}

/// Group-relative advantages: each reward of a prompt's completions less their mean, over their deviation (n − 1) plus 1e-4.
///                                                                                               Shao et al. 2024 (GRPO)
/// throws  std::invalid_argument for fewer than two rewards
inline void standardize(std::span<double> group) {
  detail::require(group.size() > 1, "standardize: ", group.size(), " rewards; a prompt needs at least two completions");
  auto const n = static_cast<double>(group.size());
  double mean = 0, squares = 0;
  for (double const reward : group) mean += reward / n;
  for (double const reward : group) squares += (reward - mean) * (reward - mean);
  double const deviation = std::sqrt(squares / (n - 1)) + 1e-4;
  for (double& reward : group) reward = (reward - mean) / deviation;
}

/// A token's loss and its slope in the quantity that is trained.
struct clipped_term {
  double value, slope;
  bool clipped;
};

/// Clipped surrogate: max(−A ρ, −A clip(ρ, 1 − ε_low, 1 + ε_high)), ρ = e^{log π − log π_old}; slope in log π.
[[nodiscard]] inline clipped_term clipped_surrogate(double logp, double old_logp, double advantage, double clip_low = 0.2,
                                                    double clip_high = 0.2) {
  double const ratio = std::exp(logp - old_logp);
  double const bound = ratio < 1 - clip_low ? 1 - clip_low : ratio > 1 + clip_high ? 1 + clip_high : ratio;
  double const plain = -advantage * ratio, clipped = -advantage * bound;
  if (clipped > plain) return {clipped, 0, true};
  return {plain, plain, false};  // dρ/d log π = ρ
}

/// Clipped value loss: ½ max((V − R)², (clip(V, V_old ± ε) − R)²); slope in V.
[[nodiscard]] inline clipped_term clipped_value_loss(double value, double old_value, double target, double clip = 0.2) {
  double const bound = value < old_value - clip ? old_value - clip : value > old_value + clip ? old_value + clip : value;
  double const plain = (value - target) * (value - target), clipped = (bound - target) * (bound - target);
  if (clipped > plain) return {clipped / 2, 0, true};
  return {plain / 2, value - target, false};
}

/// Adaptive KL coefficient: β ← β (1 + clip(KL/target − 1, ±0.2) n/horizon).                        Ziegler et al. 2019
struct adaptive_kl {
  double beta = 0.2, target = 6, horizon = 10000;

  /// `samples` completions had mean sequence KL `kl`.
  void update(double kl, double samples) {
    detail::require(target > 0 && horizon > 0, "adaptive_kl: target = ", target, ", horizon = ", horizon,
                    "; both must be positive");
    double const error = kl / target - 1;
    beta *= 1 + (error > 0.2 ? 0.2 : error < -0.2 ? -0.2 : error) * samples / horizon;
  }
};

/// Mean KL per token of completions to the reference, before training: SALSA's κ_0. It is 0 where policy and reference start
/// equal. Where they don't, −β κ_0 a token is a tax on length; penalise KL_t − κ_0 (token_rewards' baseline), one scalar
/// for all tokens. Subtracting the sampled log-ratio instead would cancel the soup.
/// throws  std::invalid_argument if there are no tokens
[[nodiscard]] inline double kl_per_token(std::span<double const> completion_kl, std::span<double const> completion_tokens) {
  detail::require(completion_kl.size() == completion_tokens.size(), "kl_per_token: ", completion_kl.size(), " KL for ",
                  completion_tokens.size(), " token counts; pass one of each a completion");
  double kl = 0, tokens = 0;
  for (std::size_t i = 0; i < completion_kl.size(); ++i) {
    kl += completion_kl[i];
    tokens += completion_tokens[i];
  }
  detail::require(tokens > 0, "kl_per_token: no tokens; pass at least one completion");
  return kl / tokens;
}

/// Says when completions have become suspiciously short: the policy pays less KL by ending early.
struct length_guard {
  double shortest_share = 0.5;  ///< of the mean length before training
  double first_mean = 0;

  /// True while the mean length is above its share of the first one seen.
  [[nodiscard]] bool admits(double mean_tokens) {
    if (first_mean == 0) first_mean = mean_tokens;
    return mean_tokens >= shortest_share * first_mean;
  }
};

}  // namespace kedge
