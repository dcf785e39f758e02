// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include <kedge/llm/train/launch.hpp>

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_apo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds{.method = llm::round_method::apo, .momentum = llm::momentum_choice::constant};
  dataset_choice named;
  bool json = false;
  command_line line(
      "kedge apo",
      "Accelerated preference optimization (iterative DPO with Nesterov extrapolation between rounds; not TRL's apo_* losses, which are "
      "Anchored PO). One file a round, or --chunks; or fresh pairs each round, sampled from the anchor: --prompts and --judge.");
  declare(line.settings, settings);
  declare_rounds(line.settings, rounds);
  declare(line.settings, named);
  add_json(line, json);
  line.take_trl_flags();
  line.parse(args);
  join(settings, line);
  // TRL's online trainers call what they sample from their data set.
  if (rounds.sampling.prompts.empty() && !named.name.empty() && (!rounds.sampling.reward_model.empty() || !rounds.sampling.judge.empty()))
    choose_files(line, std::exchange(named, {}), {}, rounds.sampling.prompts, rounds.sampling.eval_prompts);
  if (rounds.online() && !named.name.empty()) throw llm::usage_error("--dataset_name and --prompts exclude each other: pairs come from a file or are sampled");
  if (!rounds.online()) choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  if (rounds.online() && line.settings.given("max_length"))
    throw llm::usage_error("--max_length is for pairs from files; --max_new_tokens bounds completions that are sampled, and prompts are never cut");
  if (rounds.online() && !settings.where.alone())
    throw llm::usage_error("--prompts: fresh pairs are sampled by one process; start it without torchrun, or give files of pairs");
  if (line.settings.given("rounds") && !rounds.online()) {
    if (settings.dataset.size() == 1 && rounds.chunks == 0) rounds.chunks = rounds.rounds;
    std::size_t const there = rounds.chunks > 0 ? rounds.chunks : settings.dataset.size();
    if (there != rounds.rounds) throw llm::usage_error("--rounds " + std::to_string(rounds.rounds) + ": there are " + std::to_string(there) + " files or chunks");
  }
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
