// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/reward_plane.hpp>

#include "command.hpp"

namespace kedge::cli {

namespace {

nlohmann::ordered_json summary(llm::ppo_settings const& settings, llm::ppo_result const& r) {
  nlohmann::ordered_json all{{"output_dir", settings.output_dir.string()},
          {"interrupted", r.interrupted},
          {"length_collapsed", r.length_collapsed},
          {"updates", r.steps},
          {"train_runtime", r.train_seconds},
          {"sample_runtime", r.sample_seconds},
          {"judge_runtime", r.judge_seconds},
          {"episodes", r.examples},
          {"tokens", r.tokens},
          {"kl_at_start", r.kl_at_start},
          {"kl_per_token_at_start", r.kl_per_token_at_start},
          {"peak_memory_bytes", r.peak_memory_bytes},
          {"evaluations", llm::as_json(r.evaluations)}};
  add_best(all, r);
  return all;
}

int train(llm::ppo_settings const& settings, bool json) {
  llm::ppo_result const result = llm::train_ppo(settings);
  if (settings.where.rank != 0) return result.interrupted ? exit_interrupted : exit_done;
  if (json)
    std::printf("%s\n", summary(settings, result).dump().c_str());
  else if (result.interrupted)
    std::printf("interrupted after %zu updates; checkpoint in %s\n", result.steps, result.checkpoint.string().c_str());
  else
    std::printf("%s: %zu updates, %zu completions in %.1f s (sampling %.1f s, judge %.1f s), peak memory %.2f GB\n",
                settings.output_dir.string().c_str(), result.steps, result.examples, result.train_seconds, result.sample_seconds,
                result.judge_seconds, static_cast<double>(result.peak_memory_bytes) / 1e9);
  return result.interrupted ? exit_interrupted : exit_done;
}

}  // namespace

int run_ppo(arguments const& args) {
  llm::ppo_settings settings;
  bool json = false;
  command_line line("kedge ppo", "Trains a model on its own completions, rewarded by a judge or a reward model, with a KL penalty to where it started.");
  declare(line.settings, settings);
  parse_training(line, args, settings, json);
  return train(settings, json);
}

namespace {

// Runs salsa at each weight of the second model, into folders of their own, and prints a table.
int sweep(llm::ppo_settings const& settings, std::vector<double> const& weights, bool json) {
  std::vector<llm::ppo_result> results;
  bool const leads = settings.where.rank == 0;
  for (double const weight : weights) {
    llm::ppo_settings own = settings;
    own.reference.weights = {1 - weight, weight};
    own.output_dir /= "weight-" + nlohmann::json(weight).dump();
    results.push_back(llm::train_ppo(own));
    if (results.back().interrupted) return exit_interrupted;
    if (json && leads) std::printf("%s\n", summary(own, results.back()).dump().c_str());
  }
  if (json || !leads) return exit_done;
  std::printf("weight  KL at step 0  reward    KL     wins\n");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    llm::policy_evaluation const last = results[i].evaluations.empty() ? llm::policy_evaluation{} : results[i].evaluations.back();
    std::printf("%-7.3g %-13.4g %-9.4g %-6.3g %.3g\n", weights[i], results[i].kl_at_start, last.reward, last.kl, last.win_rate);
  }
  return exit_done;
}

}  // namespace

int run_salsa(arguments const& args) {
  llm::ppo_settings settings;
  std::vector<double> soup_weight;
  std::size_t plane = 0;
  bool json = false;
  command_line line("kedge salsa", "PPO whose KL is measured against a soup of fine-tuned models; training starts from the first of them.");
  declare(line.settings, settings);
  line.settings.at("model_name_or_path").optional().describe("where training starts, if not at the first model of --reference");
  line.settings.at("total_episodes").at_least(0);
  line.settings.at("reference").required().describe("soup:DIR,DIR[,...][@W,W], or mkl:DIR,DIR for the mean of several KL penalties");
  line.settings.group("SALSA");
  line.settings.add("soup_weight", soup_weight, "weight of the second of two models: 0 is PPO, 1 the other model; several make a sweep").at_least(-10).at_most(10);
  line.settings.add("reward_plane", plane, "before training, measure soups on a grid of so many steps; --total_episodes 0 does only that; 0: no").at_most(1000);
  parse_training(line, args, settings, json);
  if (!soup_weight.empty() && (settings.reference.models.size() != 2 || !settings.reference.weights.empty()))
    throw llm::usage_error("--soup_weight is for two models without weights of their own: --reference soup:DIR,DIR");
  if (settings.model.empty()) settings.model = settings.reference.models.front();
  if (plane > 0) llm::measure_reward_plane(settings, plane);
  if (plane > 0 && settings.total_episodes == 0) return exit_done;
  if (soup_weight.size() > 1) return sweep(settings, soup_weight, json);
  if (!soup_weight.empty()) settings.reference.weights = {1 - soup_weight.front(), soup_weight.front()};
  return train(settings, json);
}

}  // namespace kedge::cli
