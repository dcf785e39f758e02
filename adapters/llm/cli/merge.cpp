// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/merging.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_merge(arguments const& args) {
  llm::merge_settings settings;
  command_line line("kedge merge", "Writes a LoRA adapter's base with the adapter merged into its weights: W + scale B A.");
  line.settings.add(llm::model_setting("adapter", settings.adapter, "folder with adapter_config.json and adapter_model.safetensors")).alias("model_name_or_path").positional().required();
  line.settings.add(llm::model_setting("base_model", settings.base, "Hugging Face folder or GGUF file; none: what the adapter names"));
  line.settings.add("output_dir", settings.output_dir, "where the model goes").required();
  line.settings.add("save_dtype", settings.save_dtype, "of the written weights");
  line.parse(args);
  llm::merge(settings);
  std::printf("%s\n", settings.output_dir.string().c_str());
  return exit_done;
}

}  // namespace kedge::cli
