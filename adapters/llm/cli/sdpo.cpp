// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

namespace kedge::cli {

void add_chunk_options(CLI::App& app, llm::round_settings& rounds) {
  auto const group = "Rounds";
  app.add_option("--chunks", rounds.chunks, "cut one data set into so many rounds")->group(group);
  app.add_option("--order", rounds.order, "of the chunks: given, easy-to-hard, hard-to-easy or random")
      ->check(CLI::IsMember({"given", "easy-to-hard", "hard-to-easy", "random"}))->capture_default_str()->group(group);
  app.add_option("--difficulty", rounds.difficulty,
                 "what makes a pair easy: score-gap (score_chosen - score_rejected) or logp-margin (log-probability margin of the start)")
      ->check(CLI::IsMember({"score-gap", "logp-margin"}))->capture_default_str()->group(group);
}

int run_sdpo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds{.method = "sdpo"};
  bool json = false;
  CLI::App app("Stepwise DPO: one round a chunk of the data; the reference of each round is the model just trained.", "kedge sdpo");
  add_training_options(app, settings);
  add_chunk_options(app, rounds);
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
