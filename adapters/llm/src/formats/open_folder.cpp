// SPDX-License-Identifier: Apache-2.0
#include <map>      // map
#include <set>      // set
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "checkpoint_storage.hpp"
#include "folder_files.hpp"
#include "text_side.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;

/// Shard → the tensors that the index places there. A shard is a plain file name of the same folder.
std::map<std::string, std::set<std::string>> read_index(path const& file) {
  json const index = read_object(file);
  if (!index.contains("weight_map") || !index.at("weight_map").is_object())
    throw error(in_quotes(file.string()) + " has no weight_map; fetch the file again");
  std::map<std::string, std::set<std::string>> out;
  for (auto const& [tensor, shard] : index.at("weight_map").items()) {
    if (!shard.is_string()) throw error(in_quotes(file.string()) + ": no file is named for tensor " + in_quotes(tensor));
    auto const& name = shard.get_ref<std::string const&>();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos)
      throw error(in_quotes(file.string()) + ": " + in_quotes(name) + " is not a file name within the folder");
    out[name].insert(tensor);
  }
  return out;
}

void add_tensor(checkpoint::storage& files, safetensors_entry const& tensor) {
  tensor_source source;
  source.bytes = tensor.bytes;
  source.plain = tensor.type;
  source.readable = tensor.type.has_value();
  files.add({tensor.name, tensor.shape, tensor.stored_type}, source);
}

std::shared_ptr<safetensors_file const> open_part(checkpoint::storage& files, path const& file) {
  auto opened = std::make_shared<safetensors_file const>(file);
  files.files.push_back(opened);
  return opened;
}

void add_shards(checkpoint::storage& files, path const& index) {
  for (auto const& [shard, wanted] : read_index(index)) {
    path const file = index.parent_path() / shard;
    if (!is_there(file)) throw error("the shard " + in_quotes(file.string()) + " is missing; the download is incomplete");
    std::size_t found = 0;
    for (auto const& tensor : open_part(files, file)->tensors()) {
      if (!wanted.contains(tensor.name)) continue;
      add_tensor(files, tensor);
      ++found;
    }
    if (found == wanted.size()) continue;
    for (auto const& name : wanted)
      if (!files.index.contains(name))
        throw error(in_quotes(file.string()) + " lacks tensor " + in_quotes(name) +
                    ", which the index places there; fetch the files again");
  }
}

void add_weights(checkpoint::storage& files, path const& folder, weights_are weights) {
  path const single = folder / "model.safetensors";
  path const index = folder / "model.safetensors.index.json";
  if (is_there(single)) {
    for (auto const& tensor : open_part(files, single)->tensors()) add_tensor(files, tensor);
  } else if (is_there(index)) {
    add_shards(files, index);
  } else if (is_there(folder / "pytorch_model.bin") || is_there(folder / "pytorch_model.bin.index.json")) {
    throw error(in_quotes(folder.string()) +
                " holds pickled weights (pytorch_model.bin), which kedge never loads; convert "
                "them to safetensors");
  } else if (weights == weights_are::required) {
    throw error("no weights in " + in_quotes(folder.string()) + ": neither model.safetensors nor model.safetensors.index.json");
  }
}

}  // namespace

opened_checkpoint open_folder(path const& folder, weights_are weights) {
  if (!is_there(folder / "config.json"))
    throw error("no config.json in " + in_quotes(folder.string()) +
                "; pass a Hugging Face model folder, or a .gguf file itself");
  opened_checkpoint out;
  out.files = std::make_unique<checkpoint::storage>();
  out.files->path = folder;
  out.config = read_object(folder / "config.json");
  out.generation_config = read_object_if_there(folder / "generation_config.json", nullptr);
  text_side words = read_text_side(folder, out.config);
  out.tokenizer = std::move(words.tokenizer);
  out.tokenizer_problem = std::move(words.problem);
  out.tokenizer_config = std::move(words.tokenizer_config);
  out.chat_templates = std::move(words.chat_templates);
  out.notes = std::move(words.notes);
  add_weights(*out.files, folder, weights);
  join_mxfp4(out);
  return out;
}

}  // namespace kedge::llm
