// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/merging.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>

#include "reward_head.hpp"

namespace kedge::llm {

void merge(merge_settings const& settings) {
  std::filesystem::path const& out = settings.output_dir;
  if (std::filesystem::exists(out / "config.json")) throw error(out.string() + ": already holds a model; choose another --output_dir");
  peft_adapter const files(settings.adapter);
  checkpoint source = open_base(files, settings.base);
  if (files.task() == peft_task::sequence_score && !source.config.contains("pad_token_id") && !source.tokenizer.is_null())
    source.config["pad_token_id"] = padding_token(source, open_tokenizer(source));
  transformer_config const config = read_config(source);
  pack const theta = load_merged(source, config, files);
  std::filesystem::create_directories(out);
  write_model(out, source, config, theta, stored(settings.save_dtype));
}

}  // namespace kedge::llm
