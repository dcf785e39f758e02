// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/train/merging.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_merge(arguments const& args) {
  llm::merge_settings settings;
  CLI::App app("Writes a LoRA adapter's base with the adapter merged into its weights: W + scale B A.", "kedge merge");
  app.add_option("--model_name_or_path,adapter", settings.adapter, "folder with adapter_config.json and adapter_model.safetensors")->required();
  app.add_option("--base_model", settings.base, "Hugging Face folder or GGUF file; unset: what the adapter names");
  app.add_option("--output_dir", settings.output_dir, "where the model goes")->required();
  app.add_option("--save_dtype", settings.save_dtype, "of the written weights: float32, bfloat16 or float16")
      ->check(CLI::IsMember({"float32", "bfloat16", "float16"}))->capture_default_str();
  parse(app, args);
  llm::merge(settings);
  std::printf("%s\n", settings.output_dir.string().c_str());
  return exit_done;
}

}  // namespace kedge::cli
