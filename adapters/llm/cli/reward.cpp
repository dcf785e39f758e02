// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_reward(arguments const& args) {
  llm::reward_settings settings;
  bool json = false;
  CLI::App app("Trains a reward model, one number for a prompt with its completion, on preference pairs: Bradley-Terry.", "kedge reward");
  app.add_option("--dataset,--data", settings.dataset, "JSONL of preference pairs: prompt, chosen, rejected; margin, if there is one, in the rewards' unit")->required();
  app.add_option("--eval_dataset", settings.eval_dataset, "held-out pairs, evaluated before and after");
  app.add_option("--center_rewards_coefficient", settings.center_rewards_coefficient, "weight of (reward chosen + reward rejected)^2, which keeps rewards around zero")
      ->capture_default_str();
  add_lora_options(app, settings);
  add_run_options(app, settings);
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  return report(settings, llm::train_reward(settings), "pairs", json);
}

}  // namespace kedge::cli
