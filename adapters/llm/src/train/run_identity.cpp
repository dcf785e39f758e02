// SPDX-License-Identifier: Apache-2.0
#include "run_identity.hpp"

#include <kedge/llm/base/content_hash.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/model/config.hpp>

#include "computation.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

void add(content_hash& hash, preference_pair const& pair) {
  hash.add(pair.prompt);
  hash.add(pair.chosen);
  hash.add(pair.rejected);
  if (pair.cut_for_chosen + pair.cut_for_rejected > 0)
    for (std::size_t const cut : {pair.cut_for_chosen, pair.cut_for_rejected}) hash.add(cut);
  for (double const number : {pair.score_chosen, pair.score_rejected, pair.margin, pair.ref_chosen, pair.ref_rejected}) hash.add(number);
}

std::string counted(std::size_t count, char const* what, content_hash const& hash) { return std::to_string(count) + " " + what + ", hash " + hash.text(); }

}  // namespace

std::string content_of(std::span<preference_pair const> pairs) {
  content_hash hash;
  for (preference_pair const& pair : pairs) add(hash, pair);
  return counted(pairs.size(), "pairs", hash);
}

std::string content_of(std::span<std::shared_ptr<std::vector<preference_pair> const> const> rounds) {
  content_hash hash;
  std::size_t count = 0;
  for (auto const& pairs : rounds) {
    hash.add(pairs->size());
    count += pairs->size();
    for (preference_pair const& pair : *pairs) add(hash, pair);
  }
  return counted(count, "pairs", hash);
}

std::string content_of(std::span<demonstration_ids const> examples) {
  content_hash hash;
  for (demonstration_ids const& one : examples) {
    hash.add(one.tokens);
    hash.add(one.learned_from);
    for (token_run const& run : one.learned)
      for (std::size_t const end : {run.begin, run.end}) hash.add(end);
  }
  return counted(examples.size(), "examples", hash);
}

std::string content_of(std::span<unpaired_ids const> examples) {
  content_hash hash;
  for (unpaired_ids const& one : examples) {
    hash.add(one.prompt);
    hash.add(one.completion);
    hash.add(std::size_t{one.desirable});
  }
  return counted(examples.size(), "completions", hash);
}

std::string content_of(encoded_prompts const& prompts) {
  content_hash hash;
  for (auto const& ids : prompts.ids) hash.add(ids);
  return counted(prompts.ids.size(), "prompts", hash);
}

json content_of(reference_choice const& reference) {
  json content{{"kind", name_of(reference.what)}, {"weights", reference.weights}, {"numbers", reference.numbers}, {"models", json::array()}};
  for (auto const& model : reference.models) content["models"].push_back(model_content(model));
  return content;
}

json model_content(std::filesystem::path const& model) {
  if (model.empty()) return nullptr;
  std::string text = "hash " + hash_of_model(model);
  if (is_adapter(model)) text += " on " + hash_of_model(open_base(peft_adapter(model)).path());
  return text;
}

run_identity identify(settings_list const& list, settings_list const& untouched, run_settings const& run, compute_settings const& compute, json contents) {
  run_identity identity{list.values(), json::object(), list.identity()};
  for (auto const& one : untouched)
    if (json const usual = one->value(); usual != list.at(one->name()).value()) identity.defaults[one->name()] = usual;
  json const now = settled(run.compute, compute);
  identity.settings.update(now);
  identity.fixed.update(now);
  identity.fixed["examples of a step"] = run.batch();
  identity.fixed["type of the computation"] = std::string(at::toString(compute.type));
  for (auto const& [what, content] : contents.items()) identity.fixed[what] = content;
  return identity;
}

json about_model(session const& opened, causal_lm const& model) {
  json about;
  about["name"] = short_name(opened.source.path());
  about["family"] = opened.source.config.value("model_type", "");
  about["parameters"] = parameter_count(model.config());
  about["adapter"] = model.adapted() != nullptr;
  return about;
}

void require_same(json const& saved, json const& now, std::string const& checkpoint) {
  auto const of = [](json const& all, std::string const& key) { return all.contains(key) ? all[key] : json(); };
  auto const refuse = [&](std::string const& key) {
    throw error(checkpoint + ": the checkpoint was made with " + key + " = " + of(saved, key).dump() + ", this run has " + of(now, key).dump() +
                "; a run goes on with what it began with");
  };
  for (auto const& [key, value] : now.items())
    if (of(saved, key) != value) refuse(key);
  for (auto const& [key, value] : saved.items())
    if (of(now, key) != value) refuse(key);
}

}  // namespace kedge::llm
