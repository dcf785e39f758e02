// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sft.hpp>

#include "one_round.hpp"

namespace kedge::cli {

int run_sft(arguments const& args) {
  return run_one_round<llm::sft_settings>(
      args, "kedge sft", "Supervised fine-tuning: maximises the likelihood of completions, or of whole conversations.", "examples", llm::train_sft,
      [](llm::sft_settings const& settings) {
        if (settings.model.empty() && settings.config_name.empty()) throw llm::usage_error("--model_name_or_path is required, or else --config_name");
      });
}

}  // namespace kedge::cli
