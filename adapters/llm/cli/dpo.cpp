// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_dpo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds;
  dataset_choice named;
  bool json = false;
  command_line line("kedge dpo", "Trains a model on preference pairs, in one round against the model it starts from.");
  declare(line.settings, settings);
  declare_reference(line.settings, rounds);
  declare(line.settings, named);
  parse_training(line, args, settings, json);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  if (settings.dataset.size() != 1) throw llm::usage_error("--dataset: dpo takes one file; for several rounds use sdpo or apo");
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
