// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/sft.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_sft(arguments const& args) {
  llm::sft_settings settings;
  bool json = false;
  CLI::App app("Supervised fine-tuning: maximises the likelihood of completions, or of whole conversations.", "kedge sft");
  app.add_option("--dataset,--data", settings.dataset, "JSONL: prompt and completion, or messages, or text")->required();
  app.add_option("--eval_dataset", settings.eval_dataset, "held-out examples, evaluated before and after");
  app.add_option("--config_name", settings.config_name,
                 "folder with config.json and tokenizer: train a model of that shape from random numbers, drawn by --seed, in place of --model_name_or_path");
  app.add_option("--completion_only_loss", settings.completion_only_loss,
                 "true or false: learn the completions alone, or the prompts too; unset: true where there are prompts");
  add_lora_options(app, settings);
  add_run_options(app, settings);
  app.get_option("--model_name_or_path")->required(false);
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  if (settings.model.empty() == settings.config_name.empty())
    throw CLI::ValidationError("--model_name_or_path", "is required, or else --config_name");
  return report(settings, llm::train_sft(settings), "examples", json);
}

}  // namespace kedge::cli
