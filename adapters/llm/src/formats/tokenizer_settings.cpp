// SPDX-License-Identifier: Apache-2.0
#include "tokenizer_settings.hpp"

#include <algorithm>  // find, find_if
#include <string>     // string
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>

#include "../text/json_fields.hpp"
#include "folder_files.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using text::member;

constexpr char const* config_name = "tokenizer_config.json";

std::int64_t to_id(json const& value, std::string const& what) {
  if (!value.is_number_integer()) throw error(what + " is not the id of a token");
  return value.get<std::int64_t>();
}

std::int64_t to_id(std::string const& digits, std::string const& what) {
  std::size_t used = 0;
  try {
    std::int64_t const id = std::stoll(digits, &used);
    if (used == digits.size()) return id;
  } catch (std::exception const&) {
  }
  throw error(what + ": " + in_quotes(digits) + " is not the id of a token");
}

std::map<std::int64_t, token_entry> listed_in_config(json const& decoder) {
  std::map<std::int64_t, token_entry> out;
  if (!decoder.is_object()) throw error(std::string(config_name) + ": added_tokens_decoder is not an object");
  for (auto const& [id, token] : decoder.items()) {
    if (!token.is_object()) throw error(std::string(config_name) + ": added_tokens_decoder: token " + in_quotes(id) + " is not an object");
    out[to_id(id, std::string(config_name) + ": added_tokens_decoder")] = token_of_object(token, std::string(config_name) + ": added_tokens_decoder");
  }
  return out;
}

/// The value of special_tokens_map.json for a key: objects become tokens that are special; of two lists of extra tokens both count.
json joined_value(json const& config, std::string const& key, json const& value) {
  if (value.is_object() && key != "extra_special_tokens") {
    json token = value;
    token["special"] = true;
    return token;
  }
  if (key != "extra_special_tokens" || !value.is_array()) return value;
  json all = config.contains(key) && config.at(key).is_array() ? config.at(key) : json::array();
  for (json token : value) {
    if (token.is_object()) token["special"] = true;
    if (std::find(all.begin(), all.end(), token) == all.end()) all.push_back(std::move(token));
  }
  return all;
}

std::vector<std::string> special_contents(json const& config) {
  std::vector<std::string> out;
  json const named = special_tokens(config);
  for (json const& content : named) out.push_back(content.get<std::string>());
  json const* const extra = member(config, "extra_special_tokens");
  if (extra != nullptr && extra->is_array())
    for (json const& value : *extra)
      if (auto const token = token_of_value(value, config_name)) out.push_back(token->content);
  return out;
}

std::map<std::int64_t, token_entry> listed_by_older_files(std::filesystem::path const& folder, json const& config, json const& tokenizer_json) {
  std::map<std::int64_t, token_entry> out;
  std::vector<std::string> const special = special_contents(config);
  json const older = read_object_if_there(folder / "added_tokens.json", json::object());
  for (auto const& [content, id] : older.items()) {
    token_entry token;
    token.content = content;
    token.special = std::find(special.begin(), special.end(), content) != special.end();
    out[to_id(id, "added_tokens.json: the value of " + in_quotes(content))] = token;
  }
  json const* const added = member(tokenizer_json, "added_tokens");
  if (added != nullptr && added->is_array())
    for (json const& entry : *added)
      if (json const* const id = member(entry, "id"); id != nullptr)
        out[to_id(*id, "tokenizer.json: the id of an added token")] = token_of_object(entry, "tokenizer.json");
  return out;
}

/// additional_special_tokens is the older name of extra_special_tokens, and counts where that says nothing.
void rename_extra_tokens(json& config) {
  auto const older = config.find("additional_special_tokens");
  if (older == config.end()) return;
  json const* const newer = member(config, "extra_special_tokens");
  if (newer != nullptr && !newer->empty()) return;
  json value = std::move(*older);
  config.erase(older);
  config["extra_special_tokens"] = std::move(value);
}

/// Tokens by their names, then the further ones, each with the flags that the list gives it.
std::vector<token_entry> named_and_extra(tokenizer_settings const& settings) {
  std::vector<token_entry> out;
  json const named = special_tokens(settings.config);
  for (auto const& [name, content] : named.items()) {
    std::string const* const text = content.get_ptr<std::string const*>();
    auto const listed = std::find_if(settings.listed.begin(), settings.listed.end(),
                                     [&](auto const& entry) { return text != nullptr && entry.second.content == *text; });
    json const* const value = member(settings.config, name.c_str());
    token_entry token = value == nullptr ? *token_of_value(content, config_name) : *token_of_value(*value, config_name);
    if (listed != settings.listed.end()) token = listed->second;
    token.special = true;
    out.push_back(std::move(token));
  }
  json const* const extra = member(settings.config, "extra_special_tokens");
  if (extra != nullptr && extra->is_array())
    for (json const& value : *extra) {
      auto token = token_of_value(value, config_name);
      if (!token) throw error(std::string(config_name) + ": extra_special_tokens holds " + value.dump() + ", which is no token");
      out.push_back(std::move(*token));
    }
  return out;
}

bool holds(std::vector<token_entry> const& tokens, std::string const& content) {
  return std::find_if(tokens.begin(), tokens.end(), [&](token_entry const& t) { return t.content == content; }) != tokens.end();
}

/// The listed tokens that the tokenizer lacks or has with other flags, then the named and further ones that nothing has yet.
std::vector<token_entry> missing_tokens(tokenizer_settings const& settings, json const& tokenizer_json) {
  std::vector<token_entry> const there = added_tokens_of(tokenizer_json);
  json const names = special_tokens(settings.config);
  std::vector<token_entry> out;
  for (auto const& [id, listed] : settings.listed) {
    token_entry token = listed;
    if (std::find(there.begin(), there.end(), token) != there.end()) continue;
    token.special = token.special || std::find(names.begin(), names.end(), json(token.content)) != names.end();
    out.push_back(std::move(token));
  }
  // Of a token that has two names in two spellings the later one counts; the same spelling twice is once.
  std::vector<token_entry> named;
  for (token_entry const& token : named_and_extra(settings)) {
    auto const same = [&](token_entry const& other) { return other.plain == token.plain && other == token; };
    if (!holds(there, token.content) && !holds(out, token.content) && std::find_if(named.begin(), named.end(), same) == named.end()) named.push_back(token);
  }
  out.insert(out.end(), named.begin(), named.end());
  return out;
}

bool truthy(json const& config, char const* key) {
  json const* const value = member(config, key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) throw error(std::string(config_name) + ": " + key + " is not true or false");
  return value->get<bool>();
}

/// A template of bos_token, the text and eos_token, of which either may be missing.
json framed(json const& config, json const& tokenizer_json, bool bos, bool eos) {
  json const tokens = special_tokens(config);
  json single = json::array(), pair = json::array(), ids = json::object();
  auto const put = [&](json& list, char const* name, int type) {
    std::string const content = tokens.at(name).get<std::string>();
    auto const id = id_of_token(tokenizer_json, content);
    if (!id) throw error(std::string(config_name) + ": " + name + " " + in_quotes(content) + " is no token");
    list.push_back({{"SpecialToken", {{"id", content}, {"type_id", type}}}});
    ids[content] = {{"id", content}, {"ids", json::array({*id})}, {"tokens", json::array({content})}};
  };
  bos = bos && tokens.contains("bos_token");
  eos = eos && tokens.contains("eos_token");
  for (int type = 0; type < 2; ++type) {
    if (bos) put(pair, "bos_token", type);
    pair.push_back({{"Sequence", {{"id", type == 0 ? "A" : "B"}, {"type_id", type}}}});
    if (eos) put(pair, "eos_token", type);
    if (type == 0) single = pair;
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", ids}};
}

}  // namespace

tokenizer_settings read_tokenizer_settings(std::filesystem::path const& folder, json const& tokenizer_json) {
  tokenizer_settings out;
  out.config = read_object_if_there(folder / config_name, json::object());
  rename_extra_tokens(out.config);
  if (json const* const decoder = member(out.config, "added_tokens_decoder"); decoder != nullptr) {
    out.listed = listed_in_config(*decoder);
  } else {
    json const older = read_object_if_there(folder / "special_tokens_map.json", json::object());
    for (auto const& [name, value] : older.items())
      out.config[name] = joined_value(out.config, name, value);
    if (!out.config.contains("extra_special_tokens")) rename_extra_tokens(out.config);
    out.listed = listed_by_older_files(folder, out.config, tokenizer_json);
  }
  out.config.erase("additional_special_tokens");  // what is left of it means nothing, and would count if it were written
  return out;
}

void apply_settings(tokenizer_class kind, tokenizer_settings const& settings, bool from_file, json& tokenizer_json) {
  json const& config = settings.config;
  add_tokens(tokenizer_json, missing_tokens(settings, tokenizer_json));
  std::vector<token_entry> again;
  if (kind == tokenizer_class::qwen2 || kind == tokenizer_class::cohere)
    for (token_entry token : named_and_extra(settings)) {
      token.special = true;
      if (kind == tokenizer_class::qwen2) token = {.content = token.content, .special = true};
      again.push_back(std::move(token));
    }
  add_tokens(tokenizer_json, again);
  // The settings of a folder with a tokenizer.json lose both flags when they are read; a class has its own.
  bool const own = kind == tokenizer_class::code_llama;
  bool const asked = (!from_file && (config.contains("add_bos_token") || config.contains("add_eos_token"))) || own;
  bool const framed_by_file = member(tokenizer_json, "post_processor") != nullptr;
  if (!asked && framed_by_file && kind != tokenizer_class::gpt_neox) return;
  bool const bos = own && from_file ? true : !from_file && truthy(config, "add_bos_token");
  bool const eos = !from_file && truthy(config, "add_eos_token");
  tokenizer_json["post_processor"] = framed(config, tokenizer_json, bos, eos);
}

}  // namespace kedge::llm
