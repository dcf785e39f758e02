// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_reward(arguments const& args) {
  llm::reward_settings settings;
  dataset_choice named;
  bool json = false;
  command_line line("kedge reward", "Trains a reward model, one number for a prompt with its completion, on preference pairs: Bradley-Terry.");
  declare(line.settings, settings);
  declare(line.settings, named);
  add_json(line, json);
  line.take_trl_flags();
  line.parse(args);
  join(settings, line);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  return report(settings, llm::train_reward(settings), "pairs", json);
}

}  // namespace kedge::cli
