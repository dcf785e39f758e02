// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_sdpo(arguments const& args) {
  llm::training_settings settings;
  llm::round_settings rounds = llm::usual_rounds(llm::round_method::sdpo);
  dataset_choice named;
  bool json = false;
  command_line line("kedge sdpo", "Stepwise DPO: one round a chunk of the data; the reference of each round is the model just trained.");
  declare(line.settings, settings);
  declare_chunks(line.settings, rounds);
  declare(line.settings, named);
  parse_training(line, args, settings, json);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  return train(settings, rounds, json);
}

}  // namespace kedge::cli
