// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // find_if, max_element
#include <set>        // set
#include <string>     // string

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "../base/thread_pool.hpp"
#include "agreement.hpp"
#include "plan.hpp"

namespace kedge::llm {
namespace {

/// The recipe's models, each once: the donor, those that are merged, and at last those that only the vocabulary speaks of.
std::vector<model_reference> models_of(soup_recipe const& recipe, std::size_t& merged) {
  std::set<model_reference> seen;
  std::vector<model_reference> out;
  auto const add = [&](model_reference const& model) {
    if (seen.insert(model).second) out.push_back(model);
  };
  if (recipe.base_model) add(*recipe.base_model);
  for (auto const& slice : recipe.slices) {
    for (auto const& source : slice.sources) add(source.model);
    if (slice.base_model) add(*slice.base_model);
  }
  merged = out.size();
  if (recipe.vocabulary.model) add(*recipe.vocabulary.model);
  return out;
}

std::shared_ptr<opened_model const> open(model_reference const& model) {
  auto out = std::make_shared<opened_model>(opened_model{checkpoint::open(model.model), std::nullopt});
  if (!model.adapter.empty()) out->adapter.emplace(model.adapter, out->weights);
  return out;
}

std::string own_template(checkpoint const& model) {
  auto const found = std::find_if(model.chat_templates.begin(), model.chat_templates.end(), [](auto const& one) { return one.first == "default"; });
  return found == model.chat_templates.end() ? std::string() : found->second;
}

bool same_content(std::filesystem::path const& a, std::filesystem::path const& b) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(b, ignored) && mapped_file(a).text() == mapped_file(b).text();
}

/// A file of an adapter's folder that speaks of tokens otherwise than its base's; empty where there is none.
std::filesystem::path own_tokens_of(model_reference const& model) {
  for (char const* const name : {"tokenizer.json", "chat_template.jinja"}) {
    std::error_code ignored;
    std::filesystem::path const own = model.adapter / name;
    if (std::filesystem::is_regular_file(own, ignored) && !same_content(own, model.model / name)) return own;
  }
  return {};
}

/// The models' own template that most of them have, the first of equals; empty where none has one.
std::string commonest_template(std::vector<checkpoint const*> const& models) {
  auto const trimmed = [](std::string const& text) {
    std::size_t const begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
    return begin == std::string::npos ? std::string{} : text.substr(begin, end - begin + 1);
  };
  std::vector<std::pair<std::string, std::size_t>> counts;
  for (auto const* const model : models) {
    std::string const text = trimmed(own_template(*model));
    if (text.empty()) continue;
    auto const found = std::find_if(counts.begin(), counts.end(), [&](auto const& one) { return one.first == text; });
    if (found == counts.end())
      counts.emplace_back(text, 1);
    else
      ++found->second;
  }
  auto const most =
      std::max_element(counts.begin(), counts.end(), [](auto const& a, auto const& b) { return a.second < b.second; });
  return most == counts.end() ? "" : most->first;
}

}  // namespace

soup_models::soup_models(soup_recipe const& recipe, soup_settings const& settings) {
  if (recipe.slices.empty() || recipe.slices.front().sources.empty()) throw error("a soup needs at least one model");
  std::size_t merged = 0;
  references_ = models_of(recipe, merged);
  merged_.assign(references_.begin(), references_.begin() + static_cast<std::ptrdiff_t>(merged));
  donor_ = references_.front();
  std::vector<std::shared_ptr<opened_model const>> opened(references_.size());
  thread_pool workers(settings.threads);  // parsing a tokenizer takes longer than averaging a layer
  workers.run(references_.size(), [&](std::size_t i, std::size_t) { opened[i] = open(references_[i]); });
  for (std::size_t i = 0; i < references_.size(); ++i) opened_[references_[i]] = opened[i];
  for (auto const& model : opened)
    for (std::string const& note : model->weights.notes) notes_.push_back(model->weights.path().string() + ": " + note);
  for (auto const& model : references_)
    if (std::filesystem::path const own = model.adapter.empty() ? "" : own_tokens_of(model); !own.empty())
      notes_.push_back(in_quotes(own.string()) + " is not used; an adapter's tokens and template are taken to be those of " +
                       in_quotes(model.model.string()));
  for (std::size_t i = 1; i < merged; ++i) hold_against_donor(at(references_[i]), recipe, settings);
  if (recipe.vocabulary.rearranges())
    alignment_ = std::make_shared<vocabulary_alignment const>(
        recipe, merged_, [&](model_reference const& model) -> checkpoint const& { return at(model); }, notes_);
  settle_template(recipe);
}

void soup_models::hold_against_donor(checkpoint const& model, soup_recipe const& recipe, soup_settings const& settings) {
  if (&model == &donor()) return;
  try {
    check_architecture(donor(), model);
  } catch (error const& why) {
    if (!settings.allow_crimes) throw;
    notes_.push_back(std::string("merged all the same: ") + why.what());
  }
  if (std::string const differences = config_differences(donor(), model); !differences.empty())
    notes_.push_back(in_quotes(donor().path().string()) + " and " + in_quotes(model.path().string()) + " differ in " +
                     differences + "; the result has the first's");
  if (recipe.vocabulary.rearranges()) return;
  if (std::string const difference = vocabulary_difference(donor(), model, settings.allow_tokenizer_mismatch);
      !difference.empty())
    notes_.push_back(difference);
}

void soup_models::settle_template(soup_recipe const& recipe) {
  if (recipe.chat_template.empty()) return;
  if (recipe.chat_template != "auto") {
    chat_template_ = named_chat_template(recipe.chat_template).value_or(recipe.chat_template);
    return;
  }
  std::vector<checkpoint const*> all;
  for (auto const& model : merged_) all.push_back(&at(model));
  chat_template_ = commonest_template(all);
  if (chat_template_.empty()) notes_.push_back("chat_template auto: no model has a template, and neither has the result");
}

}  // namespace kedge::llm
