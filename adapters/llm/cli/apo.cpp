// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <utility>

#include <kedge/llm/train/null_baseline.hpp>

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

namespace {

// In a line, what the null baseline runs with.
void tell_null(llm::training_settings const& settings, llm::null_choice choice, double ratio) {
  char numbers[160];
  std::snprintf(numbers, sizeof numbers,
                "r = %.6g: beta %.6g, learning_rate %.6g, adam_epsilon %.6g, max_grad_norm %.6g, no momentum", ratio,
                settings.loss.beta, settings.learning_rate, settings.adam_epsilon, settings.max_grad_norm);
  settings.says().say("--null " + std::string(llm::name_of(choice)) + ": the null baseline in the place of APO; " + numbers);
}

}  // namespace

int run_apo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds = llm::usual_rounds(llm::round_method::apo);
  dataset_choice named;
  bool json = false;
  command_line line("kedge apo",
                    "Accelerated preference optimization (iterative DPO with Nesterov extrapolation between rounds; not TRL's "
                    "apo_* losses, which are Anchored PO). One file a round, or --chunks; or fresh pairs each round, sampled "
                    "from the anchor: --prompts and --judge.");
  declare(line.settings, settings);
  declare_rounds(line.settings, rounds);
  declare(line.settings, named);
  parse_training(line, args, settings, json);
  // TRL's online trainers call what they sample from their data set.
  if (rounds.sampling.prompts.empty() && !named.name.empty() &&
      (!rounds.sampling.reward_model.empty() || !rounds.sampling.judge.empty()))
    choose_files(line, std::exchange(named, {}), {}, rounds.sampling.prompts, rounds.sampling.eval_prompts);
  if (rounds.online() && !named.name.empty())
    throw llm::usage_error("--dataset_name and --prompts exclude each other: pairs come from a file or are sampled");
  if (!rounds.online()) choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  if (rounds.online() && line.settings.given("max_length"))
    throw llm::usage_error(
        "--max_length is for pairs from files; --max_new_tokens bounds completions that are sampled, and prompts are never "
        "cut");
  for (char const* of_files : {"truncation_mode", "ranked_pairs"})
    if (rounds.online() && line.settings.given(of_files))
      throw llm::usage_error("--" + std::string(of_files) + " is for pairs from files; here they are sampled");
  if (line.settings.given("rounds") && !rounds.online()) {
    if (settings.dataset.size() == 1 && rounds.chunks == 0) rounds.chunks = rounds.rounds;
    std::size_t const there = llm::round_count(settings, rounds);
    if (there != rounds.rounds)
      throw llm::usage_error("--rounds " + std::to_string(rounds.rounds) + ": there are " + std::to_string(there) +
                             " files or chunks");
  }
  if (rounds.null != llm::null_choice::none) {
    double const ratio = llm::make_null_baseline(settings, rounds);
    tell_null(settings, rounds.null, ratio);
  }
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
