// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // max
#include <map>        // map
#include <utility>    // move, pair

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "checkpoint_storage.hpp"
#include "gguf_to_hf.hpp"

namespace kedge::llm {
namespace {

using part_stacks = std::map<std::string, std::pair<gguf_tensor const*, tensor_source>>;  // by their names in GGUF

/// One tensor an expert, its rows of the stack.
void add_each(checkpoint::storage& files, gguf_spelling const& spelling, gguf_tensor const& stack, tensor_source const& source) {
  auto const experts = static_cast<std::size_t>(stack.shape.front());
  std::size_t const bytes = source.bytes.size() / std::max<std::size_t>(1, experts), star = spelling.name.find('*');
  for (std::size_t e = 0; e < experts; ++e) {
    tensor_source own = source;
    own.bytes = source.bytes.subspan(e * bytes, bytes);
    std::string name = spelling.name;
    files.add({name.replace(star, 1, std::to_string(e)), {stack.shape.begin() + 1, stack.shape.end()}, gguf_type_name(stack.type)}, own);
  }
}

/// One tensor of the stacks that Hugging Face's model has under one name.
void add_joined(checkpoint::storage& files, std::string const& name, bool turned, part_stacks const& stacks) {
  gguf_tensor const& first = *stacks.begin()->second.first;
  bool const vectors = first.shape.size() == 2;  // biases
  std::int64_t const E = first.shape[0], rows = first.shape[1], width = vectors ? 1 : first.shape[2], all = rows * static_cast<std::int64_t>(stacks.size());
  expert_assembly made{{}, static_cast<std::size_t>(E), static_cast<std::size_t>(rows), static_cast<std::size_t>(width), turned};
  tensor_source source;
  for (auto const& [theirs, part] : stacks) {
    if (part.first->shape != first.shape)
      throw error(in_quotes(files.path.string()) + ": tensors " + in_quotes(first.name) + " and " + in_quotes(theirs) + " differ in shape; the file is damaged");
    source.readable = source.readable && part.second.readable;
    made.parts.push_back(part.second);
  }
  source.experts = std::make_shared<expert_assembly const>(std::move(made));
  std::vector<std::int64_t> const shape = vectors ? std::vector{E, all} : turned ? std::vector{E, width, all} : std::vector{E, all, width};
  files.add({name, shape, gguf_type_name(first.type)}, source);
}

}  // namespace

opened_checkpoint open_gguf(std::filesystem::path const& path) {
  auto const file = std::make_shared<gguf_file const>(path);
  opened_checkpoint out;
  out.files = std::make_unique<checkpoint::storage>();
  out.files->path = path;
  out.files->files.push_back(file);
  check_kind(*file);
  out.config = config_from(*file);
  std::map<std::string, std::pair<bool, part_stacks>> joined;
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
    if (spelling->experts && (tensor.shape.size() < 2 || tensor.shape.size() > 3))
      throw error(in_quotes(path.string()) + ": tensor " + in_quotes(tensor.name) + " is no stack of experts; the file is damaged");
    if (spelling->experts && spelling->name.find('*') != std::string::npos)
      add_each(*out.files, *spelling, tensor, source);
    else if (spelling->experts)
      joined.try_emplace(spelling->name, spelling->turned, part_stacks()).first->second.second.try_emplace(tensor.name, &tensor, source);
    else
      out.files->add({std::move(spelling->name), tensor.shape, gguf_type_name(tensor.type)}, source);
  }
  for (auto const& [name, stacks] : joined) add_joined(*out.files, name, stacks.first, stacks.second);
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
