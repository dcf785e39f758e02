// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sft.hpp>

#include "command.hpp"
#include "trl_dataset.hpp"

namespace kedge::cli {

int run_sft(arguments const& args) {
  llm::sft_settings settings;
  dataset_choice named;
  bool json = false;
  command_line line("kedge sft", "Supervised fine-tuning: maximises the likelihood of completions, or of whole conversations.");
  declare(line.settings, settings);
  declare(line.settings, named);
  add_json(line, json);
  line.take_trl_flags();
  line.parse(args);
  join(settings, line);
  choose_files(line, named, settings, settings.dataset, settings.eval_dataset);
  if (settings.model.empty() && settings.config_name.empty()) throw llm::usage_error("--model_name_or_path is required, or else --config_name");
  return report(settings, llm::train_sft(settings), "examples", json);
}

}  // namespace kedge::cli
