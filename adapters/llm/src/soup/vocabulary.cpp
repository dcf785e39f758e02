// SPDX-License-Identifier: Apache-2.0
#include "vocabulary.hpp"

#include <algorithm>      // all_of, any_of, find_if, max, remove_if, sort
#include <unordered_set>  // unordered_set

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using detail::member;

/// config.json's, which may be less than the tokenizer's where it is damaged, and more where rows are padded.
std::int64_t vocabulary_size(checkpoint const& model, std::size_t otherwise) {
  json const& size = member(model.config, "vocab_size");
  json const& nested = member(member(model.config, "text_config"), "vocab_size");
  if (size.is_number_integer()) return size.get<std::int64_t>();
  return nested.is_number_integer() ? nested.get<std::int64_t>() : static_cast<std::int64_t>(otherwise);
}

json const& tokenizer_of(checkpoint const& model) {
  if (model.tokenizer.is_null())
    throw error(in_quotes(model.path().string()) +
                " has no tokenizer.json, which tokenizer_source needs; add it, or merge without tokenizer_source");
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
        notes.push_back("token " + in_quotes(token) + " is added with other settings in " + in_quotes(model->path().string()) +
                        "; the first model's count");
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

/// Finds the rows of tokens in the models whose tensors are brought into one order.
class row_finder {
 public:
  using part = row_order::part;

  row_finder(std::vector<vocabulary_alignment::source> const& sources, std::optional<model_reference> const& base,
             std::map<model_reference, std::vector<std::int64_t>> const& own, std::map<model_reference, token_ids> const& ids,
             std::vector<std::pair<std::string, token_source>> const& chosen)
      : sources_(sources), base_(base), ids_(ids) {
    for (auto const& one : sources) own_.push_back(&own.at(one.model));
    for (auto const& [token, from] : chosen) chosen_[token] = &from;
  }

  [[nodiscard]] bool has(std::size_t s, std::size_t id) const { return (*own_[s])[id] >= 0; }
  [[nodiscard]] part own(std::size_t s, std::size_t id, std::string const& token) const { return at(s, (*own_[s])[id], token); }

  [[nodiscard]] bool is_everywhere(std::size_t id) const {
    return std::all_of(own_.begin(), own_.end(), [&](auto const* rows) { return (*rows)[id] >= 0; });
  }

  [[nodiscard]] bool is_forced(std::string const& token) const {
    auto const found = chosen_.find(token);
    return found != chosen_.end() && found->second->force;
  }

  /// Of a token that some models lack, or that is forced: what was chosen, else the base's row, else all rows there are.
  [[nodiscard]] std::vector<part> otherwise(std::size_t id, std::string const& token) const {
    if (auto const found = chosen_.find(token); found != chosen_.end()) return chosen(*found->second, token);
    std::vector<part> all;
    for (std::size_t s = 0; s < sources_.size(); ++s) {
      if (!has(s, id)) continue;
      if (base_ && sources_[s].model == *base_) return {own(s, id, token)};
      all.push_back(own(s, id, token));
    }
    return all;
  }

 private:
  [[nodiscard]] std::vector<part> chosen(token_source const& from, std::string const& token) const {
    if (from.from == token_source::kind::zero) return {};
    if (from.from == token_source::kind::unsaid)
      throw error("token " + in_quotes(token) +
                  " needs a source: a model, {kind: model_token, model: …, token: …} or {kind: zero}");
    auto const found = std::find_if(sources_.begin(), sources_.end(), [&](auto const& one) { return one.model == from.model; });
    if (found == sources_.end())
      throw error("token " + in_quotes(token) + " is to come from " + in_quotes(from.model.text()) +
                  ", which is none of the models merged");
    auto const s = static_cast<std::size_t>(found - sources_.begin());
    if (from.from == token_source::kind::of_id) return {at(s, from.id, token)};
    std::string const& wanted = from.from == token_source::kind::of_token ? from.token : token;
    auto const id = ids_.at(from.model).find(wanted);
    if (id == ids_.at(from.model).end())
      throw error("token " + in_quotes(token) + ": there is no token " + in_quotes(wanted) + " in " +
                  in_quotes(from.model.text()));
    return {at(s, id->second, token)};
  }

  [[nodiscard]] part at(std::size_t s, std::int64_t row, std::string const& token) const {
    if (row < 0 || static_cast<std::size_t>(row) >= sources_[s].rows)
      throw error("token " + in_quotes(token) + ": row " + std::to_string(row) + " is beyond the " +
                  std::to_string(sources_[s].rows) + " rows of " + in_quotes(sources_[s].model.text()));
    return {static_cast<std::uint32_t>(s), static_cast<std::size_t>(row)};
  }

  std::vector<vocabulary_alignment::source> const& sources_;
  std::optional<model_reference> const& base_;
  std::map<model_reference, token_ids> const& ids_;
  std::vector<std::vector<std::int64_t> const*> own_;
  std::unordered_map<std::string, token_source const*> chosen_;
};

}  // namespace

vocabulary_alignment::vocabulary_alignment(soup_recipe const& recipe, std::vector<model_reference> const& models,
                                           std::function<checkpoint const&(model_reference const&)> const& opened,
                                           std::vector<std::string>& notes)
    : chosen_(recipe.vocabulary.tokens) {
  settle_tokenizer(recipe, models, opened, notes);
  std::size_t const pad = std::max<std::size_t>(1, recipe.vocabulary.pad_to_multiple_of);
  rows_ = (tokens_.size() + pad - 1) / pad * pad;
  for (auto const& model : models) {
    checkpoint const& one = opened(model);
    bool const silent = one.tokenizer.is_null();
    if (silent)
      notes.push_back(in_quotes(model.text()) + " has no tokenizer.json; its tokens are taken to be those of " +
                      in_quotes(models.front().text()));
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
                                            std::function<checkpoint const&(model_reference const&)> const& opened,
                                            std::vector<std::string>& notes) {
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
      throw error("the tokenizer of " + in_quotes(donor_.text()) + " leaves out ids: token " + in_quotes(token) + " has " +
                  std::to_string(id) + " of " + std::to_string(tokens_.size()) +
                  " tokens; such a vocabulary can't be rearranged");
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

std::vector<std::shared_ptr<row_order const>> vocabulary_alignment::orders(std::vector<source> const& sources,
                                                                           std::optional<model_reference> const& base) const {
  row_finder const rows(sources, base, own_, ids_, chosen_);
  std::vector<std::shared_ptr<row_order>> out;
  for (std::size_t s = 0; s < sources.size(); ++s) out.push_back(std::make_shared<row_order>());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    bool const forced = rows.is_forced(tokens_[id]);
    std::vector<row_order::part> const other =
        forced || !rows.is_everywhere(id) ? rows.otherwise(id, tokens_[id]) : std::vector<row_order::part>{};
    for (std::size_t s = 0; s < sources.size(); ++s)
      out[s]->add(rows.has(s, id) && !forced ? std::vector{rows.own(s, id, tokens_[id])} : other);
  }
  return {out.begin(), out.end()};
}

}  // namespace kedge::llm
