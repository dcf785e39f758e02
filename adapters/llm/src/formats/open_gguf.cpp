// SPDX-License-Identifier: Apache-2.0
#include <utility>  // move

#include <kedge/llm/formats/gguf.hpp>

#include "checkpoint_storage.hpp"
#include "gguf_to_hf.hpp"

namespace kedge::llm {

opened_checkpoint open_gguf(std::filesystem::path const& path) {
  auto const file = std::make_shared<gguf_file const>(path);
  opened_checkpoint out;
  out.files = std::make_unique<checkpoint::storage>();
  out.files->path = path;
  out.files->files.push_back(file);
  check_kind(*file);
  out.config = config_from(*file);
  for (auto const& tensor : file->tensors()) {
    auto spelling = spell(*file, tensor);
    if (!spelling) continue;
    tensor_source source;
    source.bytes = tensor.bytes;
    source.plain = gguf_plain_type(tensor.type);
    source.gguf_type = tensor.type;
    source.readable = gguf_block_of(tensor.type).has_value();
    source.paired_heads = spelling->paired_heads;
    source.shift = spelling->shift;
    out.files->add({std::move(spelling->name), tensor.shape, gguf_type_name(tensor.type)}, source);
  }
  auto words = vocabulary_from(*file);
  out.tokenizer = std::move(words.tokenizer);
  out.tokenizer_config = std::move(words.tokenizer_config);
  out.generation_config = std::move(words.generation_config);
  out.notes = std::move(words.notes);
  for (std::string& note : check_unread(*file)) out.notes.push_back(std::move(note));
  if (out.tokenizer.is_null()) out.tokenizer_problem = "the file has no vocabulary";
  if (!words.chat_template.empty()) out.chat_templates.emplace_back("default", std::move(words.chat_template));
  return out;
}

}  // namespace kedge::llm
