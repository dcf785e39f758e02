// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_reward(arguments const& args) {
  llm::reward_settings settings;
  bool json = false;
  command_line line("kedge reward", "Trains a reward model, one number for a prompt with its completion, on preference pairs: Bradley-Terry.");
  declare(line.settings, settings);
  add_json(line, json);
  line.parse(args);
  join(settings);
  return report(settings, llm::train_reward(settings), "pairs", json);
}

}  // namespace kedge::cli
