// SPDX-License-Identifier: Apache-2.0
#include <set>     // set
#include <string>  // string

#include <kedge/llm/base/error.hpp>

#include "agreement.hpp"
#include "plan.hpp"
#include "../base/thread_pool.hpp"

namespace kedge::llm {
namespace {

std::vector<std::filesystem::path> paths_of(soup_recipe const& recipe) {
  std::set<std::filesystem::path> seen;
  std::vector<std::filesystem::path> out;
  auto const add = [&](std::filesystem::path const& model) {
    if (seen.insert(model).second) out.push_back(model);
  };
  if (recipe.base_model) add(*recipe.base_model);
  for (auto const& slice : recipe.slices) {
    for (auto const& source : slice.sources) add(source.model);
    if (slice.base_model) add(*slice.base_model);
  }
  if (recipe.tokenizer_source) add(*recipe.tokenizer_source);
  return out;
}

}  // namespace

soup_models::soup_models(soup_recipe const& recipe, soup_settings const& settings) {
  auto const paths = paths_of(recipe);
  if (recipe.slices.empty() || recipe.slices.front().sources.empty()) throw error("a soup needs at least one model");
  donor_ = recipe.base_model ? *recipe.base_model : recipe.slices.front().sources.front().model;
  tokenizer_donor_ = recipe.tokenizer_source.value_or(donor_);
  std::vector<std::shared_ptr<checkpoint const>> opened(paths.size());
  thread_pool workers(settings.threads);  // parsing a tokenizer takes longer than averaging a layer
  workers.run(paths.size(), [&](std::size_t i, std::size_t) { opened[i] = std::make_shared<checkpoint const>(checkpoint::open(paths[i])); });
  for (std::size_t i = 0; i < paths.size(); ++i) opened_[paths[i]] = opened[i];
  for (auto const& model : opened)
    for (auto const& note : model->notes)
      if (!settings.quiet) settings.tells.say("note: " + note);
  for (auto const& model : opened) {
    if (model.get() == &donor()) continue;
    check_architecture(donor(), *model);
    if (!settings.allow_tokenizer_mismatch) check_vocabulary(donor(), *model);
  }
}

}  // namespace kedge::llm
