// SPDX-License-Identifier: Apache-2.0
#include "added_token_list.hpp"

#include <algorithm>      // find_if, max
#include <unordered_map>  // unordered_map

#include <kedge/llm/base/error.hpp>

#include "../text/json_fields.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using text::member;

std::optional<bool> flag(json const& object, char const* key, std::string const& where) {
  json const* const value = member(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) throw error(where + ": " + key + " of a token is not true or false");
  return value->get<bool>();
}

json to_json(token_entry const& token, std::int64_t id) {
  return {{"id", id},
          {"content", token.content},
          {"single_word", token.single_word},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"normalized", token.is_normalized()},
          {"special", token.special}};
}

/// The model's vocabulary: an object of ids, or Unigram's list of pairs, whose positions are the ids.
json const* vocabulary_of(json const& tokenizer_json) {
  json const* const model = member(tokenizer_json, "model");
  return model == nullptr ? nullptr : member(*model, "vocab");
}

/// Calls `take` with each token of the vocabulary and its id.
template <class Take>
void each_token(json const& vocabulary, Take&& take) {
  if (vocabulary.is_object()) {
    for (auto const& [token, id] : vocabulary.items())
      if (id.is_number_integer()) take(token, id.template get<std::int64_t>());
  } else if (vocabulary.is_array()) {
    std::int64_t id = 0;
    for (json const& pair : vocabulary) {
      if (pair.is_array() && !pair.empty() && pair[0].is_string()) take(pair[0].get_ref<std::string const&>(), id);
      ++id;
    }
  }
}

/// Ids of the added tokens in the order of the list, by the rule of add_tokens.
class numbering {
 public:
  numbering(json const& tokenizer_json, std::span<token_entry const> more) {
    json const* const vocabulary = vocabulary_of(tokenizer_json);
    if (vocabulary == nullptr) return;
    size_ = static_cast<std::int64_t>(vocabulary->size());
    std::unordered_map<std::string_view, std::int64_t> wanted;
    for (token_entry const& token : more) wanted.emplace(token.content, -1);
    json const* const added = member(tokenizer_json, "added_tokens");
    if (added != nullptr && added->is_array())
      for (json const& entry : *added)
        if (json const* const content = member(entry, "content"); content != nullptr && content->is_string())
          wanted.emplace(content->get_ref<std::string const&>(), -1);
    each_token(*vocabulary, [&](std::string const& token, std::int64_t id) {
      if (auto const found = wanted.find(token); found != wanted.end()) in_model_[token] = id;
    });
  }

  std::int64_t id_of(std::string const& content) {
    if (auto const known = ids_.find(content); known != ids_.end()) return known->second;
    auto const found = in_model_.find(content);
    std::int64_t const id = found != in_model_.end() ? found->second : largest_ >= size_ || (size_ == 0 && largest_ >= 0) ? largest_ + 1 : size_;
    largest_ = std::max(largest_, id);
    return ids_[content] = id;
  }

 private:
  std::int64_t size_ = 0, largest_ = -1;
  std::unordered_map<std::string, std::int64_t> in_model_, ids_;
};

}  // namespace

bool token_entry::operator==(token_entry const& other) const {
  return content == other.content && single_word == other.single_word && lstrip == other.lstrip && rstrip == other.rstrip &&
         special == other.special && is_normalized() == other.is_normalized();
}

token_entry token_of_object(json const& object, std::string const& where) {
  token_entry token;
  if (json const* const content = member(object, "content"); content != nullptr) {
    if (!content->is_string()) throw error(where + ": the content of a token is not a text");
    token.content = content->get<std::string>();
  }
  token.single_word = flag(object, "single_word", where).value_or(false);
  token.lstrip = flag(object, "lstrip", where).value_or(false);
  token.rstrip = flag(object, "rstrip", where).value_or(false);
  token.special = flag(object, "special", where).value_or(false);
  token.normalized = flag(object, "normalized", where);
  return token;
}

std::optional<token_entry> token_of_value(json const& value, std::string const& where) {
  if (value.is_string()) {
    token_entry token;
    token.content = value.get<std::string>();
    token.special = true;
    token.plain = true;
    return token;
  }
  if (value.is_object() && value.contains("content")) return token_of_object(value, where);
  return std::nullopt;
}

std::vector<token_entry> added_tokens_of(json const& tokenizer_json) {
  std::vector<token_entry> out;
  json const* const added = member(tokenizer_json, "added_tokens");
  if (added == nullptr || !added->is_array()) return out;
  std::unordered_map<std::string, std::size_t> places;
  for (json const& entry : *added) {
    token_entry token = token_of_object(entry, "tokenizer.json");
    if (token.content.empty()) continue;
    auto const [place, fresh] = places.emplace(token.content, out.size());
    if (fresh)
      out.push_back(std::move(token));
    else
      out[place->second] = std::move(token);
  }
  return out;
}

void add_tokens(json& tokenizer_json, std::span<token_entry const> tokens) {
  if (tokens.empty()) return;
  json& added = tokenizer_json["added_tokens"];
  if (!added.is_array()) added = json::array();
  numbering ids(tokenizer_json, tokens);
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < added.size(); ++i) {
    json const* const content = member(added[i], "content");
    if (content == nullptr || !content->is_string()) continue;
    places[content->get<std::string>()] = i;
    ids.id_of(content->get<std::string>());
  }
  for (token_entry const& token : tokens) {
    if (token.content.empty()) continue;
    json entry = to_json(token, ids.id_of(token.content));
    auto const known = places.find(token.content);
    // `tokenizers` leaves out of decoded texts what was special once: such an entry stays in front of the new one.
    bool const stays = known != places.end() && !token.special && added[known->second].value("special", json(false)) == true;
    if (known != places.end() && !stays) {
      added[known->second] = std::move(entry);
    } else {
      places[token.content] = added.size();
      added.push_back(std::move(entry));
    }
  }
}

std::optional<std::int64_t> id_of_token(json const& tokenizer_json, std::string_view content) {
  token_entry wanted;
  wanted.content = std::string(content);
  numbering ids(tokenizer_json, std::span{&wanted, 1});
  std::optional<std::int64_t> found;
  if (json const* const added = member(tokenizer_json, "added_tokens"); added != nullptr && added->is_array())
    for (json const& entry : *added) {
      json const* const text = member(entry, "content");
      if (text == nullptr || !text->is_string() || text->get_ref<std::string const&>().empty()) continue;
      std::int64_t const id = ids.id_of(text->get<std::string>());
      if (text->get_ref<std::string const&>() == content) found = id;
    }
  if (found) return found;
  json const* const vocabulary = vocabulary_of(tokenizer_json);
  if (vocabulary != nullptr)
    each_token(*vocabulary, [&](std::string const& token, std::int64_t id) {
      if (token == content) found = id;
    });
  return found;
}

}  // namespace kedge::llm
