// SPDX-License-Identifier: Apache-2.0
#include <map>      // map
#include <set>      // set
#include <utility>  // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "checkpoint_storage.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;

bool is_there(path const& file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(file, ignored);
}

json read_object(path const& file) {
  json out = read_json_file(file);
  if (!out.is_object()) throw error(in_quotes(file.string()) + " is not a JSON object; fetch the file again");
  return out;
}

json read_object_if_there(path const& file, json otherwise) {
  return is_there(file) ? read_object(file) : std::move(otherwise);
}

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

/// The template's source: chat_template.jinja before tokenizer_config.json, whose entry may be a list of named templates.
std::string template_of(path const& folder, json const& tokenizer_config) {
  if (path const file = folder / "chat_template.jinja"; is_there(file)) {
    mapped_file const source(file);
    if (!is_utf8(source.text())) throw error(in_quotes(file.string()) + " is not UTF-8");
    return std::string{source.text()};
  }
  if (!tokenizer_config.contains("chat_template")) return {};
  json const& value = tokenizer_config.at("chat_template");
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array())
    for (auto const& named : value)
      if (named.is_object() && named.value("name", json{}) == "default" && named.value("template", json{}).is_string())
        return named.at("template").get<std::string>();
  return {};
}

/// tokenizer_config.json, completed from the file that older versions of transformers wrote beside it.
json tokenizer_config_of(path const& folder) {
  json config = read_object_if_there(folder / "tokenizer_config.json", json::object());
  json const older = read_object_if_there(folder / "special_tokens_map.json", json::object());
  for (auto const& [name, token] : older.items())
    if (!config.contains(name)) config[name] = token;
  return config;
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
  out.tokenizer = read_object_if_there(folder / "tokenizer.json", nullptr);
  out.tokenizer_config = tokenizer_config_of(folder);
  out.generation_config = read_object_if_there(folder / "generation_config.json", nullptr);
  out.chat_template = template_of(folder, out.tokenizer_config);
  add_weights(*out.files, folder, weights);
  return out;
}

}  // namespace kedge::llm
