// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/reward_plane.hpp>

#include "command.hpp"

namespace kedge::cli {

namespace {

void add_ppo_options(CLI::App& app, llm::ppo_settings& s) {
  auto const group = "PPO";
  app.add_option("--total_episodes", s.total_episodes, "completions sampled in the whole run")->capture_default_str()->group(group);
  app.add_option("--num_mini_batches", s.num_mini_batches, "steps that an epoch makes of an update's completions; an update has batch size x accumulation x this")
      ->capture_default_str()->group(group);
  app.add_option("--num_ppo_epochs", s.num_train_epochs, "passes over an update's completions")->capture_default_str()->group(group);
  app.add_option("--num_generations", s.num_generations, "completions of a prompt in one update")->capture_default_str()->group(group);
  app.add_option("--advantage", s.advantage, "gae (PPO), rloo or grpo; the last two compare completions of a prompt and need no values")
      ->check(CLI::IsMember({"gae", "rloo", "grpo"}))->capture_default_str()->group(group);
  app.add_option("--kl_coef", s.kl_coef, "weight of the KL penalty")->capture_default_str()->group(group);
  app.add_option("--kl_estimator", s.kl_estimator, "k1, k2 or k3")->check(CLI::IsMember({"k1", "k2", "k3"}))->capture_default_str()->group(group);
  app.add_option("--kl_in", s.kl_in, "where the penalty stands: reward or loss")->check(CLI::IsMember({"reward", "loss"}))->capture_default_str()->group(group);
  app.add_flag("--adap_kl_ctrl", s.adap_kl_ctrl, "let the KL penalty follow --target_kl")->group(group);
  app.add_option("--target_kl", s.target_kl, "nats a completion")->capture_default_str()->group(group);
  app.add_option("--kl_horizon", s.kl_horizon, "completions over which the penalty follows")->capture_default_str()->group(group);
  app.add_option("--cliprange", s.cliprange)->capture_default_str()->group(group);
  app.add_option("--cliprange_value", s.cliprange_value)->capture_default_str()->group(group);
  app.add_option("--vf_coef", s.vf_coef, "weight of the value loss")->capture_default_str()->group(group);
  app.add_option("--gamma", s.gamma)->capture_default_str()->group(group);
  app.add_option("--lam", s.lam, "of generalized advantage estimation")->capture_default_str()->group(group);
  app.add_flag("--whiten_rewards", s.whiten_rewards)->group(group);
  app.add_option("--missing_eos_penalty", s.missing_eos_penalty, "taken from the score of a completion that didn't end by itself")->group(group);
  app.add_option("--value_model", s.value_model, "separate, shared (a head on the policy), or a reward model's folder to start from")->capture_default_str()->group(group);
  app.add_flag("--kl_baseline", s.kl_baseline, "penalise KL beyond that before the first step: no tax on length where the reference isn't the start")->group(group);
  app.add_option("--min_length_share", s.min_length_share, "stop if completions become shorter than this share of the first ones; 0: never")
      ->capture_default_str()->group(group);
  app.add_flag("--log_entropy", s.log_entropy, "policy/entropy_avg, at the cost of a pass over the probabilities")->group(group);
}

nlohmann::ordered_json summary(llm::ppo_settings const& settings, llm::ppo_result const& r) {
  return {{"output_dir", settings.output_dir.string()},
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
}

int train(llm::ppo_settings const& settings, bool json) {
  llm::ppo_result const result = llm::train_ppo(settings);
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

llm::ppo_settings defaults() {
  llm::ppo_settings s;
  s.learning_rate = 3e-6;
  s.num_train_epochs = 4;
  s.save_steps = 20;
  s.logging_steps = 1;
  return s;
}

}  // namespace

int run_ppo(arguments const& args) {
  llm::ppo_settings settings = defaults();
  std::string reference;
  bool json = false;
  CLI::App app("Trains a model on its own completions, rewarded by a judge or a reward model, with a KL penalty to where it started.", "kedge ppo");
  add_lora_options(app, settings);
  add_run_options(app, settings);
  add_sampling_options(app, settings.sampling);
  app.get_option("--prompts")->required();
  add_ppo_options(app, settings);
  app.add_option("--reference", reference, "what the KL is measured against, if not the start: a model, soup:DIR,DIR[@W,W] or mkl:DIR,DIR[@W,W]")->group("PPO");
  app.add_option("--eval_steps", settings.eval_steps, "updates between evaluations; 0: before and after only")->capture_default_str()->group("Run");
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  settings.reference = llm::parse_reference(reference);
  return train(settings, json);
}

namespace {

// Runs salsa at each weight of the second model, into folders of their own, and prints a table.
int sweep(llm::ppo_settings const& settings, std::vector<double> const& weights, bool json) {
  std::vector<llm::ppo_result> results;
  for (double const weight : weights) {
    llm::ppo_settings own = settings;
    own.reference.weights = {1 - weight, weight};
    own.output_dir /= "weight-" + CLI::detail::to_string(weight);
    results.push_back(llm::train_ppo(own));
    if (results.back().interrupted) return exit_interrupted;
    if (json) std::printf("%s\n", summary(own, results.back()).dump().c_str());
  }
  if (json) return exit_done;
  std::printf("weight  KL at step 0  reward    KL     wins\n");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    llm::policy_evaluation const last = results[i].evaluations.empty() ? llm::policy_evaluation{} : results[i].evaluations.back();
    std::printf("%-7.3g %-13.4g %-9.4g %-6.3g %.3g\n", weights[i], results[i].kl_at_start, last.reward, last.kl, last.win_rate);
  }
  return exit_done;
}

}  // namespace

int run_salsa(arguments const& args) {
  llm::ppo_settings settings = defaults();
  std::string reference;
  std::vector<double> soup_weight;
  std::size_t plane = 0;
  bool json = false;
  CLI::App app("PPO whose KL is measured against a soup of fine-tuned models; training starts from the first of them.", "kedge salsa");
  add_run_options(app, settings);
  add_sampling_options(app, settings.sampling);
  add_ppo_options(app, settings);
  app.get_option("--prompts")->required();
  app.get_option("--model_name_or_path")->required(false)->description("where training starts, if not at the first model of --reference");
  auto const group = "SALSA";
  app.add_option("--reference", reference, "soup:DIR,DIR[,...][@W,W], or mkl:DIR,DIR for the mean of several KL penalties")->required()->group(group);
  app.add_option("--soup_weight", soup_weight, "weight of the second of two models: 0 is PPO, 1 the other model; several make a sweep")->group(group);
  app.add_option("--reward_plane", plane, "before training, measure soups on a grid of so many steps; --total_episodes 0 does only that")->group(group);
  app.add_option("--eval_steps", settings.eval_steps, "updates between evaluations; 0: before and after only")->capture_default_str()->group("Run");
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  settings.reference = llm::parse_reference(reference);
  if (!soup_weight.empty() && (settings.reference.models.size() != 2 || !settings.reference.weights.empty()))
    throw CLI::ValidationError("--soup_weight", "it is for two models without weights of their own: --reference soup:DIR,DIR");
  if (settings.model.empty()) settings.model = settings.reference.models.front();
  if (plane > 0) llm::measure_reward_plane(settings, plane);
  if (plane > 0 && settings.total_episodes == 0) return exit_done;
  if (soup_weight.size() > 1) return sweep(settings, soup_weight, json);
  if (!soup_weight.empty()) settings.reference.weights = {1 - soup_weight.front(), soup_weight.front()};
  return train(settings, json);
}

}  // namespace kedge::cli
