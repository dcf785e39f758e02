// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <kedge/loop.hpp>
#include <kedge/ppo.hpp>
#include <kedge/schedules/ema.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/ppo.hpp>

#include "epochs.hpp"
#include "rollout.hpp"

namespace kedge::llm {

/// The first `count` tensors of a pack from `first` on: the same tensors, not copies.
[[nodiscard]] pack part_of(pack const& theta, std::size_t first, std::size_t count);

/// The reference of PPO: it stays where it was put, or follows the policy, the first tensors of θ, as a moving average after each
/// `every` updates: θ_ref ← τ θ + (1 − τ) θ_ref.
class policy_anchor {
 public:
  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  policy_anchor(reference_choice const& choice, std::size_t policy_size);

  template <class State>
  void place(State& s) const {
    if (moves_ && s.round > 0 && s.round % every_ == 0)
      kedge::axpby(average_.tau, part_of(s.theta, 0, policy_size_), 1 - average_.tau, s.anchor.front().point);
  }

 private:
  bool moves_;
  kedge::ema_anchor average_{};
  std::size_t every_ = 1, policy_size_;
};

using ppo_state = kedge::state<pack, std::vector<double>, policy_anchor>;

/// What a run with adapters leaves as it is.
struct frozen_bases {
  lora_settings lora;
  base_weights policy, critic;  ///< the critic's without its score
  at::Tensor score;     ///< with which values on the critic's begin: fp32, trained
};

/// An adapter on a model of values, which has no LM head.
/// throws  error if nothing is left of it
[[nodiscard]] lora_settings of_values(lora_settings adapter);

/// A model's description with these heads.
[[nodiscard]] transformer_config with_heads(transformer_config config, bool lm, bool scalar);

/// A policy and its values in one pack of parameters: the policy's first, then the scalar head where the values share its body, or
/// a whole model of their own. With `bases` they are adapters, and scalar heads.
struct actor_critic {
  actor_critic(transformer_config const& policy, compute_settings compute, advantage_rule advantage, value_choice const& values,
               std::optional<frozen_bases> const& bases = {});

  causal_lm policy;                 ///< is trained, and scores references
  causal_lm sampler;                ///< the policy as it generates, from the policy's weights: in fp32 where these are the fp32 masters, so that
                                    ///< what is sampled is what is trained
  std::optional<causal_lm> shared;  ///< policy and values in one forward pass
  std::optional<causal_lm> critic;  ///< values alone
  std::size_t policy_size;          ///< tensors of the policy

  [[nodiscard]] std::vector<parameter> parameters() const;
  /// Divides all of them, unless they are adapters; and what they are divided by.
  void divide(process_group const& group, llm::division what);
  [[nodiscard]] divided_pack division() const;
  [[nodiscard]] bool has_values() const { return shared || critic; }
};

/// Advantages of an update's completions, one number a token, in their order.
struct token_targets {
  std::vector<double> advantage, returns, old_value;  ///< the last two are empty without values
};

/// What kedge::run asks of PPO: an update's rollouts, their log-probabilities under the reference, and the clipped steps.
class ppo_problem {
 public:
  ppo_problem(actor_critic const& models, ppo_settings const& settings, rollout_source& prompts);

  /// throws  sampling_stopped
  [[nodiscard]] std::vector<rollout> const& source(ppo_state const& state);
  [[nodiscard]] std::vector<double> score(pack const& theta, std::vector<rollout> const& rollouts) const;
  kedge::status solve(pack& theta, std::vector<rollout> const& rollouts, std::vector<double> const& reference, std::size_t round);

  /// Advantages and returns from log-probabilities, reference and values, token by token.
  [[nodiscard]] token_targets targets(std::vector<rollout> const& rollouts, std::vector<double> const& reference,
                                      std::vector<double> const& values);

  epoch_solver solver;
  adaptive_kl controller;               ///< its beta is the penalty's, adaptive or not
  std::optional<double> kl_baseline;    ///< κ_0: KL per token before the first step
  double kl_at_start = 0;               ///< KL per completion before the first step
  step_report report;                   ///< of the last update, the means over its steps

 private:
  void report_objective(std::vector<rollout> const& rollouts, std::vector<double> const& reference);
  step_report step(pack const& weights, std::vector<rollout> const& rollouts, std::vector<double> const& reference,
                   token_targets const& targets, std::span<std::size_t const> which, step_gradient& gradient) const;
  [[nodiscard]] kl_term penalty(double difference) const;
  [[nodiscard]] double score_of(rollout const& r) const;

  actor_critic const& models_;
  ppo_settings const& settings_;
  rollout_source& prompts_;
  std::vector<rollout> rollouts_;  // of update round_
  std::size_t round_ = static_cast<std::size_t>(-1);
};

}  // namespace kedge::llm
