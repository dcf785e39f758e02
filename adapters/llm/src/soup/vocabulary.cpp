// SPDX-License-Identifier: Apache-2.0
#include "vocabulary.hpp"

#include <algorithm>      // all_of, any_of, max, remove_if, sort
#include <unordered_set>  // unordered_set

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

json const& member(json const& object, char const* key) {
  static json const nothing;
  auto const found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? nothing : *found;
}

/// Calls f(token, id) for every token of the model itself; the pieces of a Unigram model are a list whose places are the ids.
template <class F>
void for_each_token(json const& tokenizer, F const& f) {
  json const& vocab = member(member(tokenizer, "model"), "vocab");
  if (vocab.is_object())
    for (auto const& [token, id] : vocab.items()) {
      if (id.is_number_integer()) f(token, id.template get<std::int64_t>());
    }
  else
    for (std::size_t id = 0; id < vocab.size(); ++id)
      if (vocab[id].is_array() && !vocab[id].empty() && vocab[id][0].is_string()) f(vocab[id][0].get<std::string>(), static_cast<std::int64_t>(id));
}

template <class F>
void for_each_added(json const& tokenizer, F const& f) {
  for (auto const& token : member(tokenizer, "added_tokens"))
    if (member(token, "content").is_string() && member(token, "id").is_number_integer())
      f(token.at("content").get<std::string>(), token.at("id").get<std::int64_t>(), token);
}

/// config.json's, which may be less than the tokenizer's where it is damaged, and more where rows are padded.
std::int64_t vocabulary_size(checkpoint const& model, std::size_t otherwise) {
  json const& size = member(model.config, "vocab_size");
  json const& nested = member(member(model.config, "text_config"), "vocab_size");
  if (size.is_number_integer()) return size.get<std::int64_t>();
  return nested.is_number_integer() ? nested.get<std::int64_t>() : static_cast<std::int64_t>(otherwise);
}

/// A tokenizer.json that grows by added tokens, with the ids that the library `tokenizers` gives them.
class growing_tokenizer {
 public:
  explicit growing_tokenizer(json tokenizer) : tokenizer_(std::move(tokenizer)), ids_(token_ids_of(tokenizer_)) {
    for_each_token(tokenizer_, [&](std::string const&, std::int64_t) { ++next_; });
    for_each_added(tokenizer_, [&](std::string const& token, std::int64_t id, json const&) {
      added_.insert(token);
      next_ = std::max(next_, id + 1);
    });
  }

  [[nodiscard]] bool knows(std::string const& token) const { return ids_.contains(token); }

  /// As an added token with these settings; one that is a word of the model keeps its id.
  void add(std::string const& token, json settings) {
    if (token.empty() || !added_.insert(token).second) return;
    auto const [at, is_new] = ids_.try_emplace(token, next_);
    if (is_new) ++next_;
    settings["id"] = at->second;
    tokenizer_["added_tokens"].push_back(std::move(settings));
    grown_ = true;
  }

  /// With the settings that a text alone gets.
  void add(std::string const& token) {
    add(token, json{{"id", 0}, {"content", token}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", true}, {"special", false}});
  }

  /// Leaves out the tokens from `size` on, which the model has no rows for.
  void strip(std::int64_t size, std::string const& where) {
    std::unordered_set<std::string> unused;
    for (auto const& [token, id] : ids_)
      if (id >= size) unused.insert(token);
    if (unused.empty()) return;
    json& model = tokenizer_["model"];
    if (member(model, "type") != "BPE" && !member(model, "merges").is_array())
      throw error(where + " has more tokens than rows, and only those of a BPE tokenizer can be left out; choose another base, or tokenizer_source");
    json& added = tokenizer_["added_tokens"];
    added.erase(std::remove_if(added.begin(), added.end(), [&](json const& token) { return member(token, "id").is_number_integer() && token.at("id") >= size; }), added.end());
    json vocab = json::object(), merges = json::array();
    for (auto const& [token, id] : model["vocab"].items())
      if (!unused.contains(token)) append_member(vocab, token, id);
    for (auto const& merge : model["merges"])
      if (!has_part_in(merge, unused)) merges.push_back(merge);
    model["vocab"] = std::move(vocab);
    model["merges"] = std::move(merges);
    *this = growing_tokenizer(json(std::move(tokenizer_)));
    grown_ = true;
  }

  [[nodiscard]] bool has_changed() const { return grown_; }
  [[nodiscard]] json const& tokenizer() const { return tokenizer_; }
  [[nodiscard]] token_ids const& ids() const { return ids_; }

 private:
  /// "a b", or [a, b].
  static bool has_part_in(json const& merge, std::unordered_set<std::string> const& tokens) {
    if (merge.is_array()) return std::any_of(merge.begin(), merge.end(), [&](json const& part) { return part.is_string() && tokens.contains(part.get<std::string>()); });
    std::string const both = merge.is_string() ? merge.get<std::string>() : "";
    std::size_t const space = both.find(' ');
    return space != std::string::npos && (tokens.contains(both.substr(0, space)) || tokens.contains(both.substr(space + 1)));
  }

  json tokenizer_;
  token_ids ids_;
  std::unordered_set<std::string> added_;
  std::int64_t next_ = 0;
  bool grown_ = false;
};

json const& tokenizer_of(checkpoint const& model) {
  if (model.tokenizer.is_null())
    throw error(in_quotes(model.path().string()) + " has no tokenizer.json, which tokenizer_source needs; add it, or merge without tokenizer_source");
  return model.tokenizer;
}

/// The tokens that a model has rows for, the plain ones by id.
std::vector<std::string> plain_tokens(json const& tokenizer, std::int64_t size) {
  std::unordered_set<std::string> added;
  for_each_added(tokenizer, [&](std::string const& token, std::int64_t, json const&) { added.insert(token); });
  std::vector<std::pair<std::int64_t, std::string>> all;
  for_each_token(tokenizer, [&](std::string const& token, std::int64_t id) {
    if (id < size && !added.contains(token)) all.emplace_back(id, token);
  });
  std::sort(all.begin(), all.end());
  std::vector<std::string> out;
  for (auto& [id, token] : all) out.push_back(std::move(token));
  return out;
}

/// What other models have besides: plain tokens first, then added ones with their settings, each in the order of models and ids.
void unite(growing_tokenizer& out, std::vector<checkpoint const*> const& models, std::vector<std::string>& notes) {
  std::vector<std::pair<std::string, json>> added;
  std::map<std::string, std::size_t> places;
  for (auto const* const model : models) {
    std::int64_t const size = vocabulary_size(*model, token_ids_of(model->tokenizer).size());
    for_each_added(model->tokenizer, [&](std::string const& token, std::int64_t id, json settings) {
      if (id >= size) return;
      settings.erase("id");
      auto const [at, is_new] = places.try_emplace(token, added.size());
      if (is_new)
        added.emplace_back(token, std::move(settings));
      else if (added[at->second].second != settings)
        notes.push_back("token " + in_quotes(token) + " is added with other settings in " + in_quotes(model->path().string()) + "; the first model's count");
    });
  }
  for (auto const* const model : models)
    for (auto const& token : plain_tokens(model->tokenizer, vocabulary_size(*model, token_ids_of(model->tokenizer).size())))
      if (!out.knows(token) && !places.contains(token)) out.add(token);
  for (auto& [token, settings] : added) {
    settings["id"] = 0;
    out.add(token, settings);
  }
}

}  // namespace

token_ids token_ids_of(json const& tokenizer) {
  token_ids out;
  for_each_token(tokenizer, [&](std::string const& token, std::int64_t id) { out[token] = id; });
  for_each_added(tokenizer, [&](std::string const& token, std::int64_t id, json const&) { out[token] = id; });
  return out;
}

vocabulary_alignment::vocabulary_alignment(soup_recipe const& recipe, std::vector<model_reference> const& models,
                                           std::function<checkpoint const&(model_reference const&)> const& opened, std::vector<std::string>& notes)
    : chosen_(recipe.vocabulary.tokens) {
  settle_tokenizer(recipe, models, opened, notes);
  std::size_t const pad = std::max<std::size_t>(1, recipe.vocabulary.pad_to_multiple_of);
  rows_ = (tokens_.size() + pad - 1) / pad * pad;
  for (auto const& model : models) {
    checkpoint const& one = opened(model);
    bool const silent = one.tokenizer.is_null();
    if (silent) notes.push_back(in_quotes(model.text()) + " has no tokenizer.json; its tokens are taken to be those of " + in_quotes(models.front().text()));
    token_ids& ids = ids_[model] = token_ids_of(silent ? opened(models.front()).tokenizer : one.tokenizer);
    std::int64_t const size = vocabulary_size(one, ids.size());
    auto& own = own_[model];
    for (auto const& token : tokens_) {
      auto const found = ids.find(token);
      own.push_back(found == ids.end() || found->second >= size ? -1 : found->second);
    }
  }
}

void vocabulary_alignment::settle_tokenizer(soup_recipe const& recipe, std::vector<model_reference> const& models,
                                            std::function<checkpoint const&(model_reference const&)> const& opened, std::vector<std::string>& notes) {
  soup_vocabulary const& wanted = recipe.vocabulary;
  donor_ = wanted.model.value_or(models.front());
  checkpoint const& base = opened(donor_);
  growing_tokenizer out(tokenizer_of(base));
  if (!wanted.model) out.strip(vocabulary_size(base, out.ids().size()), in_quotes(donor_.text()));
  if (wanted.source == vocabulary_source::every_model && !wanted.model) {
    std::vector<checkpoint const*> all;
    for (auto const& model : models)
      if (!opened(model).tokenizer.is_null()) all.push_back(&opened(model));
    unite(out, all, notes);
  }
  for (auto const& [token, from] : wanted.tokens)
    if (!out.knows(token)) out.add(token);
  tokens_.resize(out.ids().size());
  for (auto const& [token, id] : out.ids()) {
    if (id < 0 || id >= static_cast<std::int64_t>(tokens_.size()))
      throw error("the tokenizer of " + in_quotes(donor_.text()) + " leaves out ids: token " + in_quotes(token) + " has " + std::to_string(id) + " of " +
                  std::to_string(tokens_.size()) + " tokens; such a vocabulary can't be rearranged");
    tokens_[static_cast<std::size_t>(id)] = token;
  }
  if (out.has_changed()) changed_ = out.tokenizer();
}

bool vocabulary_alignment::is_identity(std::vector<source> const& sources) const {
  bool const forced = std::any_of(chosen_.begin(), chosen_.end(), [](auto const& token) { return token.second.force; });
  return !forced && std::all_of(sources.begin(), sources.end(), [&](source const& one) {
    auto const& own = own_.at(one.model);
    for (std::size_t id = 0; id < own.size(); ++id)
      if (own[id] != static_cast<std::int64_t>(id)) return false;
    return one.rows == rows_ && rows_ == tokens_.size();
  });
}

std::vector<std::shared_ptr<row_order const>> vocabulary_alignment::orders(std::vector<source> const& sources, std::optional<model_reference> const& base) const {
  using part = row_order::part;
  std::vector<std::shared_ptr<row_order>> out;
  for (std::size_t s = 0; s < sources.size(); ++s) out.push_back(std::make_shared<row_order>());
  std::unordered_map<std::string, token_source const*> chosen;
  for (auto const& [token, from] : chosen_) chosen[token] = &from;
  auto const part_of = [&](std::size_t s, std::int64_t row, std::string const& token) {
    if (row < 0 || static_cast<std::size_t>(row) >= sources[s].rows)
      throw error("token " + in_quotes(token) + ": row " + std::to_string(row) + " is beyond the " + std::to_string(sources[s].rows) + " rows of " + in_quotes(sources[s].model.text()));
    return part{static_cast<std::uint32_t>(s), static_cast<std::size_t>(row)};
  };
  auto const place_of_model = [&](model_reference const& model, std::string const& token) {
    for (std::size_t s = 0; s < sources.size(); ++s)
      if (sources[s].model == model) return s;
    throw error("token " + in_quotes(token) + " is to come from " + in_quotes(model.text()) + ", which is none of the models merged");
  };
  auto const row_in = [&](std::size_t s, std::string const& of, std::string const& token) {
    auto const& ids = ids_.at(sources[s].model);
    auto const found = ids.find(of);
    if (found == ids.end()) throw error("token " + in_quotes(token) + ": there is no token " + in_quotes(of) + " in " + in_quotes(sources[s].model.text()));
    return part_of(s, found->second, token);
  };
  /// Of a token that some models lack, or that is forced.
  auto const otherwise = [&](std::size_t id) -> std::vector<part> {
    std::string const& token = tokens_[id];
    if (auto const choice = chosen.find(token); choice != chosen.end()) {
      token_source const& from = *choice->second;
      if (from.from == token_source::kind::zero) return {};
      if (from.from == token_source::kind::unsaid)
        throw error("token " + in_quotes(token) + " needs a source: a model, {kind: model_token, model: …, token: …} or {kind: zero}");
      std::size_t const s = place_of_model(from.model, token);
      if (from.from == token_source::kind::of_id) return {part_of(s, from.id, token)};
      return {row_in(s, from.from == token_source::kind::of_token ? from.token : token, token)};
    }
    std::vector<part> all;
    for (std::size_t s = 0; s < sources.size(); ++s)
      if (std::int64_t const row = own_.at(sources[s].model)[id]; row >= 0) {
        if (base && sources[s].model == *base) return {part_of(s, row, token)};
        all.push_back(part_of(s, row, token));
      }
    return all;
  };
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    auto const choice = chosen.find(tokens_[id]);
    bool const forced = choice != chosen.end() && choice->second->force;
    bool const everywhere = std::all_of(sources.begin(), sources.end(), [&](source const& one) { return own_.at(one.model)[id] >= 0; });
    std::vector<part> const other = forced || !everywhere ? otherwise(id) : std::vector<part>{};
    for (std::size_t s = 0; s < sources.size(); ++s) {
      std::int64_t const row = own_.at(sources[s].model)[id];
      if (row >= 0 && !forced) {
        part const mine = part_of(s, row, tokens_[id]);
        out[s]->add(std::span{&mine, 1});
      } else {
        out[s]->add(other);
      }
    }
  }
  return {out.begin(), out.end()};
}

}  // namespace kedge::llm
