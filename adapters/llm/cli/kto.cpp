// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/kto.hpp>

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_kto(arguments const& args) {
  llm::kto_settings settings;
  dataset_choice named;
  bool json = false;
  command_line line("kedge kto", "Trains a model on single completions, each with a label that says whether it is desirable: KTO.");
  declare(line.settings, settings);
  declare(line.settings, named);
  add_json(line, json);
  line.take_trl_flags();
  line.parse(args);
  join(settings, line);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  return report(settings, llm::train_kto(settings), "completions", json);
}

}  // namespace kedge::cli
