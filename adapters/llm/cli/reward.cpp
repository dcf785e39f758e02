// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/reward.hpp>

#include "one_round.hpp"

namespace kedge::cli {

int run_reward(arguments const& args) {
  return run_one_round(args, "kedge reward", "Trains a reward model, one number for a prompt with its completion, on preference pairs: Bradley-Terry.", "pairs",
                       llm::train_reward);
}

}  // namespace kedge::cli
