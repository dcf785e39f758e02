// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // find
#include <array>      // array
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/model_names.hpp>
#include <kedge/llm/formats/checkpoint.hpp>

#include "../text/json_fields.hpp"
#include "folder_files.hpp"
#include "text_side.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;
using text::member;

constexpr std::array<std::string_view, 7> usual_tokens{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/// The text of a token, null for what is none.
json content_of(json const& value) {
  if (value.is_string()) return value;
  json const* const content = value.is_object() ? member(value, "content") : nullptr;
  return content != nullptr && content->is_string() ? *content : json(nullptr);
}

void put(json& out, std::string const& name, json const& value) {
  if (json const content = content_of(value); !content.is_null()) out[name] = content;
}

bool truthy(json const& config, char const* key) {
  json const* const value = member(config, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

}  // namespace

json special_tokens(json const& tokenizer_config) {
  json out = json::object();
  if (!tokenizer_config.is_object()) return out;
  for (std::string_view const name : usual_tokens)
    if (json const* const value = member(tokenizer_config, name); value != nullptr) put(out, std::string(name), *value);
  for (auto const& [name, value] : tokenizer_config.items())
    if (name.ends_with("_token") && std::find(usual_tokens.begin(), usual_tokens.end(), name) == usual_tokens.end()) put(out, name, value);
  for (char const* const key : {"extra_special_tokens", "model_specific_special_tokens"})
    if (json const* const named = member(tokenizer_config, key); named != nullptr && named->is_object())
      for (auto const& [name, value] : named->items()) put(out, name, value);
  return out;
}

void checkpoint::take_text_of(std::filesystem::path const& adapter_folder) {
  text_side words = read_text_side(adapter_folder, json::object());
  bool const own = !words.tokenizer.is_null();
  if (own) {
    tokenizer = std::move(words.tokenizer);
    tokenizer_problem.clear();
    tokenizer_config = std::move(words.tokenizer_config);
    notes.insert(notes.end(), words.notes.begin(), words.notes.end());
  } else if (is_there(adapter_folder / "tokenizer.json") || is_there(adapter_folder / "tokenizer.model")) {
    throw error(in_quotes(adapter_folder.string()) + ": " + words.problem);
  }
  if (!words.chat_templates.empty()) chat_templates = std::move(words.chat_templates);
  if (std::filesystem::path const file = adapter_folder / "generation_config.json"; is_there(file)) generation_config = read_object(file);
}

tokenizer open_tokenizer(checkpoint const& source, std::int64_t rows) {
  if (source.tokenizer.is_null()) throw error(source.path().string() + ": " + source.tokenizer_problem);
  return tokenizer::from_json(source.tokenizer, {.split_special_tokens = truthy(source.tokenizer_config, "split_special_tokens"),
                                                 .clean_up_spaces = truthy(source.tokenizer_config, "clean_up_tokenization_spaces"),
                                                 .rows = rows});
}

std::optional<chat_template> open_chat_template(checkpoint const& source) {
  if (source.chat_templates.empty()) return std::nullopt;
  return chat_template(source.chat_templates);
}

path template_file(path const& folder, std::string const& name) {
  if (name == "default") return folder / "chat_template.jinja";
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos || name.find('\0') != std::string::npos)
    throw error("a chat template is called " + in_quotes(name) + ", which is no name of a file");
  std::filesystem::create_directories(folder / "additional_chat_templates");
  return folder / "additional_chat_templates" / (name + ".jinja");
}

std::optional<path> base_of_adapter(path const& folder) {
  path const file = folder / "adapter_config.json";
  if (!is_there(file)) return std::nullopt;
  if (is_there(folder / "config.json")) return folder;  // the model beside it, as in transformers
  json const config = read_object(file);
  json const* const base = member(config, "base_model_name_or_path");
  if (base == nullptr || !base->is_string() || base->get_ref<std::string const&>().empty())
    throw error(in_quotes(file.string()) + ": base_model_name_or_path names no model; write its folder there");
  std::error_code ignored;
  for (path const& place : {path(base->get<std::string>()), folder / base->get<std::string>()})
    if (std::filesystem::exists(place, ignored)) return place;
  json const* const revision = member(config, "revision");
  std::string const name = base->get<std::string>() + (revision != nullptr && revision->is_string() ? "@" + revision->get<std::string>() : "");
  if (path const found = local_model(name); std::filesystem::exists(found, ignored)) return found;
  throw error(in_quotes(folder.string()) + ": its base " + in_quotes(base->get<std::string>()) +
              " is not there; name it (kedge merge takes it as --base_model, a recipe as BASE+ADAPTER), or change "
              "base_model_name_or_path in adapter_config.json");
}

checkpoint checkpoint::open_text(std::filesystem::path const& model_or_adapter) {
  auto const base = is_there(model_or_adapter / "config.json") ? std::nullopt : base_of_adapter(model_or_adapter);
  std::filesystem::path const& model = base ? *base : model_or_adapter;
  checkpoint out = std::filesystem::is_directory(model) ? open_description(model) : open(model);
  if (base) out.take_text_of(model_or_adapter);
  return out;
}

}  // namespace kedge::llm
