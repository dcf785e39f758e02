// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <kedge/llm/train/on_policy.hpp>
#include <kedge/llm/train/reference.hpp>
#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// How advantages are made: PPO's generalized advantage estimation, or a comparison of a prompt's completions.
enum class advantage_rule { gae, rloo, grpo };
constexpr auto names(advantage_rule) {
  return std::array{named{advantage_rule::gae, "gae"}, named{advantage_rule::rloo, "rloo"},
                    named{advantage_rule::grpo, "grpo"}};
}

/// Schulman's estimators of a KL.
enum class kl_estimator_kind { k1, k2, k3 };
constexpr auto names(kl_estimator_kind) {
  return std::array{named{kl_estimator_kind::k1, "k1"}, named{kl_estimator_kind::k2, "k2"}, named{kl_estimator_kind::k3, "k3"}};
}

/// Where the KL penalty stands.
enum class kl_place { reward, loss };
constexpr auto names(kl_place) { return std::array{named{kl_place::reward, "reward"}, named{kl_place::loss, "loss"}}; }

/// Where PPO's values come from: a model of their own, a head on the policy, or a reward model to start from.
struct value_choice {
  enum class kind { separate, shared, reward_model };
  kind what = kind::separate;
  std::filesystem::path model;  ///< of reward_model

  value_choice() = default;
  value_choice(std::string_view text);
  value_choice(char const* text) : value_choice(std::string_view(text)) {}
  value_choice(std::string const& text) : value_choice(std::string_view(text)) {}
};
template <>
struct setting_type<value_choice> {
  [[nodiscard]] static std::optional<value_choice> read(std::string_view text, number_range const&) {
    return value_choice(text);
  }
  [[nodiscard]] static nlohmann::ordered_json write(value_choice const& value);
  [[nodiscard]] static bool valid(value_choice const&, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) { return "separate, shared, or the folder of a reward model"; }
};

/// PPO, and what differs from it by the advantage alone. Names and defaults are those of TRL's PPOConfig where it has them.
struct ppo_settings : run_settings {
  ppo_settings() {
    learning_rate = 3e-6;
    num_train_epochs = 4;
    save_steps = 20;
    logging_steps = 1;
  }

  on_policy_settings sampling{};
  reference_choice reference;         ///< what the KL penalty is measured against: start, soup or mkl
  std::size_t total_episodes = 1024;  ///< completions sampled in the whole run
  std::size_t num_mini_batches = 1;   ///< optimiser steps that an epoch makes of an update's completions
  std::size_t num_generations = 1;    ///< completions of a prompt in one update
  advantage_rule advantage = advantage_rule::gae;
  double kl_coef = 0.05;  ///< β
  kl_estimator_kind kl_estimator = kl_estimator_kind::k1;
  kl_place kl_in = kl_place::reward;
  bool adap_kl_ctrl = false;  ///< β follows target_kl
  double target_kl = 6, kl_horizon = 10000;
  double cliprange = 0.2, cliprange_value = 0.2, vf_coef = 0.1, gamma = 1, lam = 0.95;
  bool whiten_rewards = false;
  std::optional<double> missing_eos_penalty;  ///< taken from the score of a completion that did not end by itself
  value_choice value_model{};
  bool kl_baseline = false;     ///< penalise KL_t − κ_0 instead of KL_t: no tax on length where the reference is not the start
  double min_length_share = 0;  ///< stop if completions become shorter than this share of the first update's; 0: never
  bool log_entropy = false;     ///< policy/entropy_avg, at the cost of a pass over the probabilities

  [[nodiscard]] std::size_t episodes_per_update() const { return batch() * num_mini_batches; }
  [[nodiscard]] std::size_t updates() const { return (total_episodes + episodes_per_update() - 1) / episodes_per_update(); }
};

/// How a PPO run ended.
struct ppo_result : run_result {
  double kl_at_start = 0;  ///< KL to the reference before the first step, nats a completion; 0 for plain PPO but for sampling
  double kl_per_token_at_start = 0;
  double sample_seconds = 0, judge_seconds = 0;
  bool length_collapsed = false;  ///< min_length_share ended the run
  std::vector<policy_evaluation> evaluations;
};

void declare(settings_list& list, ppo_settings& settings);

/// Trains by PPO: per update samples, rewards, advantages, and epochs of clipped steps; kedge::run with a fixed anchor.
/// throws  error in one line
ppo_result train_ppo(ppo_settings const& settings);

}  // namespace kedge::llm
