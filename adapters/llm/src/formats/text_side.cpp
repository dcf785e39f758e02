// SPDX-License-Identifier: Apache-2.0
#include "text_side.hpp"

#include <algorithm>  // sort, find_if
#include <optional>   // optional
#include <utility>    // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "../text/json_fields.hpp"
#include "folder_files.hpp"
#include "sentencepiece.hpp"
#include "tokenizer_pipeline.hpp"
#include "tokenizer_settings.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;
using text::member;

std::string read_text(path const& file) {
  mapped_file const source(file);
  if (!is_utf8(source.text())) throw error(in_quotes(file.string()) + " is not UTF-8");
  return std::string{source.text()};
}

void put(template_sources& out, std::string name, std::string source) {
  auto const known = std::find_if(out.begin(), out.end(), [&](auto const& t) { return t.first == name; });
  if (known == out.end())
    out.emplace_back(std::move(name), std::move(source));
  else
    known->second = std::move(source);
}

template_sources templates_of_config(json const& value) {
  constexpr char const* wrong = "tokenizer_config.json: chat_template is neither a text nor a list of names with templates";
  template_sources out;
  if (value.is_string()) {
    put(out, "default", value.get<std::string>());
  } else if (value.is_array()) {
    for (json const& named : value) {
      json const *const name = member(named, "name"), *const source = member(named, "template");
      if (name == nullptr || source == nullptr || !name->is_string() || !source->is_string()) throw error(wrong);
      put(out, name->get<std::string>(), source->get<std::string>());
    }
  } else if (value.is_object()) {
    for (auto const& [name, source] : value.items()) {
      if (!source.is_string()) throw error(wrong);
      put(out, name, source.get<std::string>());
    }
  } else {
    throw error(wrong);
  }
  return out;
}

/// The vocabulary of a tokenizer.json as an object of ids: some write a list of tokens, or of pairs, in the order of the ids.
json ids_by_token(json vocab) {
  if (!vocab.is_array()) return vocab;
  json out = json::object();
  std::int64_t id = 0;
  for (json const& entry : vocab) {
    json const& token = entry.is_array() && !entry.empty() ? entry[0] : entry;
    if (!token.is_string()) throw error("tokenizer.json: the vocabulary holds something that is no token");
    append_member(out, token.get<std::string>(), id++);
  }
  return out;
}

/// tokenizer.json of a class that builds its own pipeline; a note where the file says otherwise.
json rebuilt(tokenizer_class kind, json const& config, json from, std::vector<std::string>& notes) {
  json* const model = from.contains("model") && from["model"].is_object() ? &from["model"] : nullptr;
  if (model == nullptr) throw error("tokenizer.json: there is no model");
  json merges = std::move((*model)["merges"]);
  if (merges.is_null()) merges = json::array();
  json out = pipeline_of(kind, config, ids_by_token(std::move((*model)["vocab"])), std::move(merges));
  for (char const* const kept : {"post_processor", "truncation", "padding"})
    if (from.contains(kept)) out[kept] = std::move(from[kept]);
  std::string differing;
  for (char const* const part : {"normalizer", "pre_tokenizer"})
    if (json const there = from.value(part, json(nullptr)); there != out[part]) differing += (differing.empty() ? "" : " and ") + std::string(part);
  if (!differing.empty())
    notes.push_back("tokenizer_config.json: tokenizer_class " + std::string(name_of(kind)) + " replaces the " + differing +
                    " of tokenizer.json, as in transformers; if those of the file are meant, name PreTrainedTokenizerFast");
  return out;
}

/// merges.txt: two tokens a line; lines that begin with #version mean nothing.
json read_merges(path const& file) {
  std::string const all = read_text(file);
  json out = json::array();
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < all.size(); ++number) {
    std::size_t const end = std::min(all.find('\n', begin), all.size());
    std::string line = all.substr(begin, end - begin);
    begin = end + 1;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.starts_with("#version") || line.empty()) continue;
    std::size_t const space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
      throw error(in_quotes(file.string()) + ", line " + std::to_string(number + 1) + ": not two tokens with a space between");
    out.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  return out;
}

bool reads_vocab_and_merges(tokenizer_class kind) {
  return kind == tokenizer_class::gpt2 || kind == tokenizer_class::codegen || kind == tokenizer_class::qwen2;
}

/// What is taken where there is no tokenizer.json.
json from_older_files(path const& folder, tokenizer_class kind, tokenizer_settings& settings) {
  if (is_there(folder / "tekken.json"))
    throw error("no tokenizer.json, and tekken.json is not read; save the tokenizer with transformers");
  if (path const pieces = folder / "tokenizer.model"; is_there(pieces)) return from_sentencepiece(pieces, kind, settings);
  path const vocab = folder / "vocab.json", merges = folder / "merges.txt";
  if (!is_there(vocab) || !is_there(merges))
    throw error("no tokenizer.json; kedge needs one to read text (save the tokenizer with transformers)");
  if (!reads_vocab_and_merges(kind))
    throw error("no tokenizer.json; vocab.json and merges.txt are read for the tokenizer_class GPT2Tokenizer, CodeGenTokenizer or "
                "Qwen2Tokenizer in tokenizer_config.json, not " + std::string(name_of(kind)));
  return pipeline_of(kind, settings.config, read_object(vocab), read_merges(merges));
}

/// Padding that the file sets names the padding token, where nothing else does.
void name_padding(json const& tokenizer_json, json& config) {
  json const* const padding = member(tokenizer_json, "padding");
  json const* const token = padding == nullptr ? nullptr : member(*padding, "pad_token");
  if (token != nullptr && token->is_string() && !config.contains("pad_token")) config["pad_token"] = *token;
}

void build(path const& folder, json const& config, text_side& out) {
  path const file = folder / "tokenizer.json";
  bool const from_file = is_there(file);
  json definition = from_file ? read_object(file) : json(nullptr);
  tokenizer_settings settings = read_tokenizer_settings(folder, definition);
  out.tokenizer_config = settings.config;
  tokenizer_class const kind =
      class_of_folder(config, settings.config, [&] { return from_file && mapped_file(file).text().find("\"ByteLevel\"") != std::string_view::npos; });
  put_class_defaults(kind, settings.config);
  if (!from_file)
    definition = from_older_files(folder, kind, settings);
  else if (kind != tokenizer_class::backend)
    definition = rebuilt(kind, settings.config, std::move(definition), out.notes);
  name_padding(definition, settings.config);
  apply_settings(kind, settings, from_file, definition);
  out.tokenizer = std::move(definition);
  out.tokenizer_config = std::move(settings.config);
}

}  // namespace

template_sources read_chat_templates(path const& folder, json const& tokenizer_config) {
  template_sources out;
  if (path const file = folder / "chat_template.jinja"; is_there(file)) put(out, "default", read_text(file));
  std::error_code ignored;
  std::vector<path> further;
  for (auto const& entry : std::filesystem::directory_iterator(folder / "additional_chat_templates", ignored))
    if (entry.path().extension() == ".jinja" && is_there(entry.path())) further.push_back(entry.path());
  std::sort(further.begin(), further.end());
  for (path const& file : further) put(out, file.stem().string(), read_text(file));
  if (!out.empty()) return out;
  json const* const value = member(tokenizer_config, "chat_template");
  return value == nullptr ? template_sources() : templates_of_config(*value);
}

text_side read_text_side(path const& folder, json const& config) {
  text_side out;
  out.tokenizer_config = json::object();
  try {
    build(folder, config, out);
  } catch (error const& problem) {
    out.tokenizer = nullptr;
    out.problem = problem.what();
  }
  out.chat_templates = read_chat_templates(folder, out.tokenizer_config);
  if (out.chat_templates.empty() && is_there(folder / "chat_template.json"))
    out.notes.emplace_back("chat_template.json is a processor's, which a tokenizer does not read; copy its template to chat_template.jinja");
  return out;
}

}  // namespace kedge::llm
