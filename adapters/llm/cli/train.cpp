// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <nlohmann/json.hpp>

#include <kedge/llm/scale/launch.hpp>

#include "command.hpp"

namespace kedge::cli {
namespace {

nlohmann::ordered_json summary(llm::training_settings const& settings, llm::training_result const& r) {
  nlohmann::ordered_json evaluations = nlohmann::ordered_json::array();
  for (auto const& e : r.evaluations) evaluations.push_back(llm::as_json(e));
  nlohmann::ordered_json noise;
  if (r.noise) noise = {{"pairs", r.noise->pairs}, {"median", r.noise->median}, {"maximum", r.noise->maximum}, {"margin", r.noise->margin}};
  nlohmann::ordered_json all{{"output_dir", settings.output_dir.string()},
          {"interrupted", r.interrupted},
          {"steps", r.steps},
          {"final_loss", r.final_loss},
          {"bf16_noise", noise},
          {"train_runtime", r.train_seconds},
          {"reference_runtime", r.reference_seconds},
          {"train_pairs", r.examples},
          {"train_pairs_per_second", static_cast<double>(r.examples) / r.train_seconds},
          {"train_tokens_per_second", static_cast<double>(r.tokens) / r.train_seconds},
          {"beta", settings.loss.beta},
          {"effective_beta", r.effective_beta},
          {"peak_memory_bytes", r.peak_memory_bytes},
          {"sample_runtime", r.sample_seconds},
          {"judge_runtime", r.judge_seconds},
          {"evaluations", evaluations},
          {"policy_evaluations", llm::as_json(r.policy_evaluations)}};
  add_best(all, r);
  return all;
}

}  // namespace

void add_best(nlohmann::ordered_json& summary, llm::run_result const& result) {
  if (!result.best_step) return;
  summary["best_step"] = *result.best_step;
  summary["best_metric"] = result.best_metric;
  summary["stopped_early"] = result.stopped_early;
}

void parse_training(command_line& line, arguments const& args, llm::run_settings& settings, bool& json) {
  add_json(line, json);
  line.take_trl_flags();
  line.parse(args);
  settings.where = llm::launch::of_environment();
  settings.tells = llm::screen(stderr);
  if (std::string const remark = line.remark(); !remark.empty()) settings.says().say(remark);
  for (char const* const name : {"eval_steps", "eval_delay", "metric_for_best_model", "greater_is_better"})
    if (line.settings.given(name) && (settings.eval_strategy == llm::interval::no || (name == std::string("eval_steps") && settings.eval_strategy != llm::interval::steps)))
      settings.says().say("--" + std::string(name) + " says nothing without --eval_strategy " + (name == std::string("eval_steps") ? "steps" : "steps or epoch"));
}

int report(llm::run_settings const& settings, llm::one_round_result const& r, char const* what, bool json) {
  double const per_second = static_cast<double>(r.examples) / r.train_seconds;
  if (settings.where.rank != 0) return r.interrupted ? exit_interrupted : exit_done;
  if (json) {
    nlohmann::ordered_json summary{{"output_dir", settings.output_dir.string()},
                                         {"interrupted", r.interrupted},
                                         {"steps", r.steps},
                                         {"final_loss", r.final_loss},
                                         {"train_runtime", r.train_seconds},
                                         {"train_samples", r.examples},
                                         {"train_samples_per_second", per_second},
                                         {"train_tokens_per_second", static_cast<double>(r.tokens) / r.train_seconds},
                                         {"peak_memory_bytes", r.peak_memory_bytes},
                                         {"evaluations", r.evaluations}};
    add_best(summary, r);
    std::printf("%s\n", summary.dump().c_str());
  } else if (r.interrupted) {
    std::printf("interrupted after %zu steps; checkpoint in %s\n", r.steps, r.checkpoint.string().c_str());
  } else {
    std::printf("%s: %zu steps, %zu %s in %.1f s (%.2f/s), peak memory %.2f GB\n", settings.output_dir.string().c_str(), r.steps, r.examples, what,
                r.train_seconds, per_second, static_cast<double>(r.peak_memory_bytes) / 1e9);
  }
  return r.interrupted ? exit_interrupted : exit_done;
}

int train(llm::training_settings const& settings, llm::round_settings const& rounds, bool json) {
  llm::training_result const result = llm::train_preferences(settings, rounds);
  if (settings.where.rank != 0) return result.interrupted ? exit_interrupted : exit_done;
  if (json)
    std::printf("%s\n", summary(settings, result).dump().c_str());
  else if (result.interrupted)
    std::printf("interrupted after %zu steps; checkpoint in %s\n", result.steps, result.checkpoint.string().c_str());
  else
    std::printf("%s: %zu steps, %zu pairs in %.1f s (%.2f pairs/s, reference passes %.1f s included), peak memory %.2f GB\n",
                settings.output_dir.string().c_str(), result.steps, result.examples, result.train_seconds,
                static_cast<double>(result.examples) / result.train_seconds, result.reference_seconds,
                static_cast<double>(result.peak_memory_bytes) / 1e9);
  if (!json && !result.interrupted && result.noise)
    std::printf("rounding to bf16 moves margins by %.3g nats, %.3g at most; they are %.3g (%zu pairs)\n", result.noise->median, result.noise->maximum,
                result.noise->margin, result.noise->pairs);
  return result.interrupted ? exit_interrupted : exit_done;
}

}  // namespace kedge::cli
