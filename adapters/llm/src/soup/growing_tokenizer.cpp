// SPDX-License-Identifier: Apache-2.0
#include "growing_tokenizer.hpp"

#include <algorithm>  // any_of, max, remove_if

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using detail::member;

/// "a b", or [a, b].
bool has_part_in(json const& merge, std::unordered_set<std::string> const& tokens) {
  if (merge.is_array())
    return std::any_of(merge.begin(), merge.end(),
                       [&](json const& part) { return part.is_string() && tokens.contains(part.get<std::string>()); });
  std::string const both = merge.is_string() ? merge.get<std::string>() : "";
  std::size_t const space = both.find(' ');
  return space != std::string::npos && (tokens.contains(both.substr(0, space)) || tokens.contains(both.substr(space + 1)));
}

}  // namespace

token_ids token_ids_of(json const& tokenizer) {
  token_ids out;
  for_each_token(tokenizer, [&](std::string const& token, std::int64_t id) { out[token] = id; });
  for_each_added(tokenizer, [&](std::string const& token, std::int64_t id, json const&) { out[token] = id; });
  return out;
}

growing_tokenizer::growing_tokenizer(json tokenizer) : tokenizer_(std::move(tokenizer)), ids_(token_ids_of(tokenizer_)) {
  for_each_token(tokenizer_, [&](std::string const&, std::int64_t) { ++next_; });
  for_each_added(tokenizer_, [&](std::string const& token, std::int64_t id, json const&) {
    added_.insert(token);
    next_ = std::max(next_, id + 1);
  });
}

void growing_tokenizer::add(std::string const& token, json settings) {
  if (token.empty() || !added_.insert(token).second) return;
  auto const [at, is_new] = ids_.try_emplace(token, next_);
  if (is_new) ++next_;
  settings["id"] = at->second;
  tokenizer_["added_tokens"].push_back(std::move(settings));
  has_changed_ = true;
}

void growing_tokenizer::add(std::string const& token) {
  add(token, json{{"id", 0},
                  {"content", token},
                  {"single_word", false},
                  {"lstrip", false},
                  {"rstrip", false},
                  {"normalized", true},
                  {"special", false}});
}

void growing_tokenizer::strip(std::int64_t size, std::string const& where) {
  std::unordered_set<std::string> unused;
  for (auto const& [token, id] : ids_)
    if (id >= size) unused.insert(token);
  if (unused.empty()) return;
  json& model = tokenizer_["model"];
  if (member(model, "type") != "BPE" && !member(model, "merges").is_array())
    throw error(where +
                " has more tokens than rows, and only those of a BPE tokenizer can be left out; choose another base, or "
                "tokenizer_source");
  json& added = tokenizer_["added_tokens"];
  auto const is_unused = [&](json const& token) { return member(token, "id").is_number_integer() && token.at("id") >= size; };
  if (added.is_array()) added.erase(std::remove_if(added.begin(), added.end(), is_unused), added.end());
  json vocab = json::object(), merges = json::array();
  for (auto const& [token, id] : model["vocab"].items())
    if (!unused.contains(token)) append_member(vocab, token, id);
  for (auto const& merge : model["merges"])
    if (!has_part_in(merge, unused)) merges.push_back(merge);
  model["vocab"] = std::move(vocab);
  model["merges"] = std::move(merges);
  *this = growing_tokenizer(json(std::move(tokenizer_)));
  has_changed_ = true;
}

}  // namespace kedge::llm
