// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/launch.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_apo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds{.method = llm::round_method::apo, .momentum = llm::momentum_choice::constant};
  bool json = false;
  command_line line(
      "kedge apo",
      "Accelerated preference optimization (iterative DPO with Nesterov extrapolation between rounds; not TRL's apo_* losses, which are "
      "Anchored PO). One file a round, or --chunks; or fresh pairs each round, sampled from the anchor: --prompts and --judge.");
  declare(line.settings, settings);
  declare_rounds(line.settings, rounds);
  line.settings.at("dataset").optional();
  add_json(line, json);
  line.parse(args);
  join(settings);
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
