// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/launch.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_apo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds{.method = "apo", .momentum = "constant"};
  bool json = false;
  CLI::App app(
      "Accelerated preference optimization (iterative DPO with Nesterov extrapolation between rounds; not TRL's apo_* losses, which are "
      "Anchored PO). One file a round, or --chunks; or fresh pairs each round, sampled from the anchor: --prompts and --judge.",
      "kedge apo");
  add_training_options(app, settings);
  add_chunk_options(app, rounds);
  auto const group = "Rounds";
  app.add_option("--rounds", rounds.rounds, "how many rounds of fresh pairs; with files: how many of them or chunks there must be")->group(group);
  app.add_option("--round_beta", rounds.beta, "a beta for each round; the last one goes on")->group(group);
  app.add_option("--momentum", rounds.momentum, "constant, nesterov or none")->check(CLI::IsMember({"constant", "nesterov", "none"}))->capture_default_str()->group(group);
  app.add_option("--alpha", rounds.alpha, "extrapolation of constant momentum, 0 to 1; 0 is iterative DPO; several: one after each round")->capture_default_str()->group(group);
  app.add_option("--nesterov_s", rounds.nesterov_s, "alpha_t = t / (t + s)")->capture_default_str()->group(group);
  app.add_option("--extrapolate", rounds.extrapolate,
                 "weights: the reference is the extrapolated model, token by token; log-probs: exact at sequence level for losses of the margin")
      ->check(CLI::IsMember({"weights", "log-probs"}))->capture_default_str()->group(group);
  add_online_options(app, rounds);
  app.get_option("--dataset")->required(false);
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  if (rounds.online() && !llm::launch::of_environment().alone())
    throw CLI::ValidationError("--prompts", "fresh pairs are sampled by one process; start it without torchrun, or give files of pairs");
  if (app.count("--rounds") > 0 && !rounds.online()) {
    if (settings.dataset.size() == 1 && rounds.chunks == 0) rounds.chunks = rounds.rounds;
    std::size_t const there = rounds.chunks > 0 ? rounds.chunks : settings.dataset.size();
    if (there != rounds.rounds)
      throw CLI::ValidationError("--rounds", std::to_string(rounds.rounds) + " rounds, but " + std::to_string(there) + " files or chunks");
  }
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
