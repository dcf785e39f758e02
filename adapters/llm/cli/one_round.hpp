// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

/// A training subcommand without rounds: its flags, its files, the run and its summary. `examples`: what it trains on, for people.
/// check    what flags have to be beside what their settings say
template <class Settings>
int run_one_round(arguments const& args, char const* name, char const* about, char const* examples,
                  llm::one_round_result (*train)(Settings const&), void (*check)(Settings const&) = [](Settings const&) {}) {
  Settings settings;
  dataset_choice named;
  bool json = false;
  command_line line(name, about);
  declare(line.settings, settings);
  declare(line.settings, named);
  parse_training(line, args, settings, json);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  check(settings);
  return report(settings, train(settings), examples, json);
}

}  // namespace kedge::cli
