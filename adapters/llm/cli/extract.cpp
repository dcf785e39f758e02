// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/extracting.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_extract(arguments const& args) {
  llm::extract_settings settings;
  command_line line("kedge extract", "Writes the LoRA adapter that comes closest to the difference of two models.");
  line.settings.add(llm::model_setting("base_model", settings.base, "the model that the adapter is to stand on: Hugging Face folder or GGUF file"))
      .required();
  line.settings.add(llm::model_setting("model", settings.tuned, "the model that it is to become"))
      .alias("model_name_or_path")
      .positional()
      .required();
  line.settings.add("output_dir", settings.output_dir, "where the adapter goes").required();
  line.settings.add("lora_r", settings.rank, "rank of the adapter").at_least(1).at_most(65536);
  line.settings.add("save_dtype", settings.save_dtype, "of the written factors");
  line.parse(args);
  settings.tells = llm::screen(stderr);
  llm::extracted const made = llm::extract(settings);
  std::printf("%s: %zu maps, %zu tensors whole, relative error %.3g\n", settings.output_dir.string().c_str(), made.maps,
              made.whole, made.relative_error);
  return exit_done;
}

}  // namespace kedge::cli
