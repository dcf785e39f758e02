// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

/// What the KL penalty of PPO is measured against.
struct reference_choice {
  enum class kind {
    start,  ///< the model that training starts from: plain PPO
    soup,   ///< Σ w_j θ_j, the average of weights: SALSA. One model is a soup of one
    mkl,    ///< Σ w_j KL(π ‖ π_j), the average of several penalties
  };
  kind what = kind::start;
  std::vector<std::filesystem::path> models;
  std::vector<double> weights;  ///< sum to one; empty: equal
};

/// "soup:DIR,DIR[,…][@W,W]", "mkl:DIR,DIR[,…][@W,W]", a model's DIR, or "" for the start.
/// throws  error if weights and models differ in number, a weight is no number or they don't sum to one
[[nodiscard]] reference_choice parse_reference(std::string const& text);

/// PPO, and what differs from it by the advantage alone. Names and defaults are those of TRL's PPOConfig where it has them.
struct ppo_settings : run_settings {
  on_policy_settings sampling{};
  reference_choice reference;
  std::size_t total_episodes = 1024;      ///< completions sampled in the whole run
  std::size_t num_mini_batches = 1;       ///< optimiser steps that an epoch makes of an update's completions
  std::size_t num_generations = 1;        ///< completions of a prompt in one update
  std::string advantage = "gae";          ///< gae | rloo | grpo
  double kl_coef = 0.05;                  ///< β
  std::string kl_estimator = "k1";        ///< k1 | k2 | k3
  std::string kl_in = "reward";           ///< reward | loss: where the penalty stands
  bool adap_kl_ctrl = false;              ///< β follows target_kl
  double target_kl = 6, kl_horizon = 10000;
  double cliprange = 0.2, cliprange_value = 0.2, vf_coef = 0.1, gamma = 1, lam = 0.95;
  bool whiten_rewards = false;
  std::optional<double> missing_eos_penalty;  ///< taken from the score of a completion that did not end by itself
  std::string value_model = "separate";   ///< separate | shared | a reward model's DIR to start the values from
  bool kl_baseline = false;               ///< penalise KL_t − κ_0 instead of KL_t: no tax on length where the reference is not the start
  double min_length_share = 0;            ///< stop if completions become shorter than this share of the first update's; 0: never
  bool log_entropy = false;               ///< policy/entropy_avg, at the cost of a pass over the probabilities
  std::size_t eval_steps = 0;             ///< updates between evaluations; 0: before the first and after the last only

  [[nodiscard]] std::size_t episodes_per_update() const { return batch() * num_mini_batches; }
  [[nodiscard]] std::size_t updates() const { return (total_episodes + episodes_per_update() - 1) / episodes_per_update(); }
};

/// How a PPO run ended.
struct ppo_result : run_result {
  double kl_at_start = 0;        ///< KL to the reference before the first step, nats a completion; 0 for plain PPO but for sampling
  double kl_per_token_at_start = 0;
  double sample_seconds = 0, judge_seconds = 0;
  bool length_collapsed = false; ///< min_length_share ended the run
  std::vector<policy_evaluation> evaluations;
};

/// Trains by PPO: per update samples, rewards, advantages, and epochs of clipped steps; kedge::run with a fixed anchor.
/// throws  error in one line
ppo_result train_ppo(ppo_settings const& settings);

}  // namespace kedge::llm
