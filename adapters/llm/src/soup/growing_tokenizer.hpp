// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>        // int64_t
#include <string>         // string
#include <unordered_map>  // unordered_map
#include <unordered_set>  // unordered_set

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// Token to id.
using token_ids = std::unordered_map<std::string, std::int64_t>;

/// Every token of a tokenizer.json, added ones included, as transformers' get_vocab() has them.
[[nodiscard]] token_ids token_ids_of(nlohmann::ordered_json const& tokenizer);

namespace detail {

inline nlohmann::ordered_json const& member(nlohmann::ordered_json const& object, char const* key) {
  static nlohmann::ordered_json const nothing;
  auto const found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? nothing : *found;
}

}  // namespace detail

/// Calls f(token, id) for every token of the model itself; the pieces of a Unigram model are a list whose places are the ids.
template <class F>
void for_each_token(nlohmann::ordered_json const& tokenizer, F const& f) {
  auto const& vocab = detail::member(detail::member(tokenizer, "model"), "vocab");
  if (vocab.is_object())
    for (auto const& [token, id] : vocab.items()) {
      if (id.is_number_integer()) f(token, id.template get<std::int64_t>());
    }
  else
    for (std::size_t id = 0; id < vocab.size(); ++id)
      if (vocab[id].is_array() && !vocab[id].empty() && vocab[id][0].is_string())
        f(vocab[id][0].template get<std::string>(), static_cast<std::int64_t>(id));
}

/// Calls f(token, id, settings) for every added token.
template <class F>
void for_each_added(nlohmann::ordered_json const& tokenizer, F const& f) {
  for (auto const& token : detail::member(tokenizer, "added_tokens"))
    if (detail::member(token, "content").is_string() && detail::member(token, "id").is_number_integer())
      f(token.at("content").template get<std::string>(), token.at("id").template get<std::int64_t>(), token);
}

/// A tokenizer.json that grows by added tokens, with the ids that the library `tokenizers` gives them.
class growing_tokenizer {
 public:
  using json = nlohmann::ordered_json;

  explicit growing_tokenizer(json tokenizer);

  [[nodiscard]] bool knows(std::string const& token) const { return ids_.contains(token); }

  /// As an added token with these settings; one that is a word of the model keeps its id.
  void add(std::string const& token, json settings);
  /// With the settings that a text alone gets.
  void add(std::string const& token);
  /// Leaves out the tokens from `size` on, which the model has no rows for.
  /// throws  kedge::llm::error that begins with `where` if the tokenizer is none of merges
  void strip(std::int64_t size, std::string const& where);

  [[nodiscard]] bool has_changed() const { return has_changed_; }
  [[nodiscard]] json const& tokenizer() const { return tokenizer_; }
  [[nodiscard]] token_ids const& ids() const { return ids_; }

 private:
  json tokenizer_;
  token_ids ids_;
  std::unordered_set<std::string> added_;
  std::int64_t next_ = 0;
  bool has_changed_ = false;
};

}  // namespace kedge::llm
