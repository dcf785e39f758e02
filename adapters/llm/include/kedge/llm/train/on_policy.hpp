// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// Which of several processes have a judge, or a reward model, of their own.
enum class judging { all, leading };
constexpr auto names(judging) { return std::array{named{judging::all, "all"}, named{judging::leading, "leading"}}; }

/// Where completions come from and who rewards them, in training that samples from the model.
struct on_policy_settings {
  std::filesystem::path prompts;         ///< JSONL, key "prompt"
  std::string judge;                     ///< --judge CMD, or
  double judge_timeout = 60;             ///< seconds for one answer
  std::filesystem::path reward_model;    ///< --reward_model DIR
  judging judge_processes = judging::all;
  std::size_t max_new_tokens = 64;
  double temperature = 1, top_p = 1;
  std::size_t top_k = 0;
  std::size_t generation_batch_size = 48;  ///< sequences decoded at once
  std::filesystem::path eval_prompts;    ///< held-out prompts, sampled before, between and after rounds; empty: none
  std::size_t eval_samples = 1;          ///< completions of each of them
  std::string eval_judge;                ///< who judges them; empty: who judges what is trained on
};

/// How a policy does on held-out prompts under the judge.
struct policy_evaluation {
  std::size_t round = 0;             ///< rounds completed
  double reward = 0, reward_stderr = 0;  ///< mean over completions, and its standard error over prompts
  double kl = 0;                     ///< KL(policy ‖ start), nats a completion, from the policy's own samples
  double win_rate = std::numeric_limits<double>::quiet_NaN();  ///< share of completions that beat the start's of the same prompt and number, ties half
  double length = 0;                 ///< tokens a completion
  double finished = 0;               ///< share that ended by itself
  std::size_t completions = 0;
};

/// The names of metrics.jsonl, of summaries and of checkpoints: {"round", "eval_reward", "eval_reward_stderr", "eval_kl",
/// "eval_win_rate", "eval_mean_length", "eval_finished", "eval_completions"}
[[nodiscard]] nlohmann::ordered_json as_json(policy_evaluation const& e);
[[nodiscard]] nlohmann::ordered_json as_json(std::vector<policy_evaluation> const& evaluations);
/// The way back.
[[nodiscard]] std::vector<policy_evaluation> evaluations_from(nlohmann::ordered_json const& saved);

}  // namespace kedge::llm
