// SPDX-License-Identifier: Apache-2.0
#include "gguf_vocabulary.hpp"

#include <optional>       // optional
#include <unordered_map>  // unordered_map

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "gguf_splits.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

enum token_type : std::int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct token_list {
  std::vector<std::string> tokens;  // by id
  std::vector<std::int32_t> types;
};

/// All tokens by their ids; ids that no token has are filled up, as llama.cpp's converter does.
token_list tokens_of(checkpoint const& source, std::int64_t size) {
  token_list out{std::vector<std::string>(static_cast<std::size_t>(size)), std::vector<std::int32_t>(static_cast<std::size_t>(size), unused)};
  auto const put = [&](std::string const& token, json const& id, token_type type) {
    auto const at = id.get<std::int64_t>();
    if (at < 0 || at >= size)
      throw error(source.path().string() + ": the tokenizer has a token " + std::to_string(at) + ", but the embedding only " + std::to_string(size) + " rows");
    out.tokens[static_cast<std::size_t>(at)] = token;
    out.types[static_cast<std::size_t>(at)] = type;
  };
  auto const is_byte = [](std::string const& token) { return token.size() == 6 && token.starts_with("<0x") && token.back() == '>'; };
  json const& model = source.tokenizer.at("model");
  bool const by_bytes = model.value("byte_fallback", false);
  for (auto const& [token, id] : model.at("vocab").items()) put(token, id, by_bytes && is_byte(token) ? byte : normal);
  for (json const& added : source.tokenizer.value("added_tokens", json::array()))
    put(added.at("content").get<std::string>(), added.at("id"), added.value("special", false) ? control : user_defined);
  for (std::size_t i = 0; i < out.tokens.size(); ++i)
    if (out.types[i] == unused) out.tokens[i] = "[PAD" + std::to_string(i) + "]";
  return out;
}

std::pair<std::string, std::string> merge_of(json const& merge) {
  if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  auto const text = merge.get<std::string>();
  auto const space = text.find(' ');
  return {text.substr(0, space), text.substr(space + 1)};
}

/// Scores of a SentencePiece vocabulary, by which it merges the best first: less by one with every merge.
std::vector<float> scores_of(json const& model, token_list const& list) {
  std::unordered_map<std::string, float> rank;
  float next = 0;
  for (json const& merge : model.at("merges")) {
    auto const [left, right] = merge_of(merge);
    if (rank.try_emplace(left + right, next).second) next -= 1;
  }
  std::vector<float> out;
  for (std::size_t i = 0; i < list.tokens.size(); ++i) {
    auto const found = rank.find(list.tokens[i]);
    out.push_back(found != rank.end() ? found->second : list.types[i] == normal ? next : 0.0F);
  }
  return out;
}

void put_merges(json const& model, gguf_header& out) {
  std::vector<std::string> merges;
  for (json const& merge : model.at("merges")) {
    auto const [left, right] = merge_of(merge);
    merges.push_back(left + " " + right);
  }
  out.put("tokenizer.ggml.merges", merges);
}

/// Special tokens by name, and those that frame a text.
void put_special(checkpoint const& source, tokenizer const& words, gguf_header& out) {
  static constexpr std::pair<char const*, char const*> keys[] = {{"bos_token", "bos_token_id"},       {"eos_token", "eos_token_id"},
                                                                 {"unk_token", "unknown_token_id"},   {"sep_token", "seperator_token_id"},
                                                                 {"pad_token", "padding_token_id"},   {"cls_token", "cls_token_id"},
                                                                 {"mask_token", "mask_token_id"}};
  json const named = special_tokens(source.tokenizer_config);
  auto const id_of = [&](char const* name) -> std::optional<std::int32_t> {
    if (named.contains(name)) return words.id_of(named[name].get<std::string>());
    std::string const key = std::string{name} + "_id";
    auto const stated = source.config.find(key);
    return stated != source.config.end() && stated->is_number_integer() ? std::optional{stated->get<std::int32_t>()} : std::nullopt;
  };
  for (auto const& [name, key] : keys)
    if (auto const id = id_of(name)) out.put(std::string{"tokenizer.ggml."} + key, std::int64_t{*id});
  auto const plain = words.encode("a", false), framed = words.encode("a", true);
  std::size_t const before = framed.size() - plain.size();
  bool const first = before > 0 && id_of("bos_token") == framed.front(), last = before > (first ? 1U : 0U) && id_of("eos_token") == framed.back();
  if (before != (first ? 1U : 0U) + (last ? 1U : 0U))
    throw error(source.path().string() + ": the tokenizer frames a text by other tokens than bos_token and eos_token, which GGUF has no word for");
  out.put("tokenizer.ggml.add_bos_token", first);
  out.put("tokenizer.ggml.add_eos_token", last);
}

/// The ends of a turn beside the end of a text.
void put_ends(checkpoint const& source, tokenizer const& words, gguf_header& out, std::vector<std::string>& notes) {
  if (!source.generation_config.is_object()) return;
  json const ends = source.generation_config.value("eos_token_id", json());
  if (!ends.is_array()) return;
  json const named = special_tokens(source.tokenizer_config);
  auto const eos = named.contains("eos_token") ? words.id_of(named["eos_token"].get<std::string>()) : std::nullopt;
  std::size_t written = 0;
  for (json const& id : ends) {
    if (!id.is_number_integer() || (eos && id == *eos)) continue;
    static constexpr char const* keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    if (written < std::size(keys))
      out.put(keys[written++], id.get<std::int64_t>());
    else
      notes.push_back("token " + id.dump() + " ends a text by generation_config.json; GGUF has no room for it");
  }
}

}  // namespace

void put_vocabulary(checkpoint const& source, std::int64_t size, gguf_header& out, std::vector<std::string>& notes) {
  std::string const where = source.path().string() + ": ";
  if (source.tokenizer.is_null()) throw error(where + "there is no tokenizer.json; llama.cpp can't use a model without a vocabulary");
  json const& model = source.tokenizer.at("model");
  if (model.value("type", "BPE") != "BPE")
    throw error(where + "a tokenizer of the kind " + model.value("type", "") + " can't be written to GGUF; kedge writes BPE, by bytes or as SentencePiece does");
  tokenizer const words = tokenizer::from_json(source.tokenizer);
  token_list const list = tokens_of(source, size);
  auto const* const split = recognise_split(source.tokenizer.value("pre_tokenizer", json()), model.value("ignore_merges", false));
  bool const pieces = model.value("byte_fallback", false);
  if (split == nullptr && !pieces)
    throw error(where + "its pre_tokenizer splits text in a way that llama.cpp has no name for (tokenizer.ggml.pre); it can't be written to GGUF");
  bool const by_bytes = split != nullptr && !pieces;
  out.put("tokenizer.ggml.model", by_bytes ? "gpt2" : "llama");
  out.put("tokenizer.ggml.pre", by_bytes ? split->name : "default");
  out.put("tokenizer.ggml.tokens", list.tokens);
  if (by_bytes)
    put_merges(model, out);
  else
    out.put("tokenizer.ggml.scores", scores_of(model, list));
  out.put("tokenizer.ggml.token_type", list.types);
  if (!by_bytes) {
    auto const ids = words.encode("a", false);
    out.put("tokenizer.ggml.add_space_prefix", !ids.empty() && words.token_of(ids.front()).starts_with("\xe2\x96\x81"));
  }
  put_special(source, words, out);
  put_ends(source, words, out, notes);
  // GGUF has one place for a template.
  for (auto const& [name, text] : source.chat_templates) {
    if (name == "default")
      out.put("tokenizer.chat_template", text);
    else
      notes.push_back("the chat template " + in_quotes(name) + " has no place in GGUF and is left out");
  }
}

}  // namespace kedge::llm
