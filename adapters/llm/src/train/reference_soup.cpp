// SPDX-License-Identifier: Apache-2.0
#include "reference_soup.hpp"

#include <algorithm>

#include <kedge/soup.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>

#include "../scale/divided_model.hpp"

namespace kedge::llm {
namespace {

void require_same_model(checkpoint const& other, session const& policy) {
  std::string const who = other.path().string(), mine = policy.source.path().string();
  transformer_config config = read_config(other);
  std::vector<parameter> const theirs = parameters_of(config), ours = parameters_of(policy.config);
  if (auto const [t, o] = std::mismatch(theirs.begin(), theirs.end(), ours.begin(), ours.end()); t != theirs.end() || o != ours.end())
    throw error(who + ": its tensors differ from those of " + mine + " (" + (o != ours.end() ? o->name : t->name) +
                "); only models of one architecture and size can be averaged");
  config.max_positions = policy.config.max_positions;
  if (config != policy.config) throw error(who + ": its config says another model than that of " + mine + " (rotary embedding, say); they can't be averaged");
  if (other.tokenizer.value("/model/vocab"_json_pointer, nlohmann::ordered_json()) !=
      policy.source.tokenizer.value("/model/vocab"_json_pointer, nlohmann::ordered_json()))
    throw error(who + ": its vocabulary differs from that of " + mine + "; only models with the same tokenizer can be averaged");
}

}  // namespace

std::vector<pack> load_members(std::vector<std::filesystem::path> const& models, session const& policy, divided_model const* division) {
  std::vector<pack> members;
  for (auto const& path : models) {
    checkpoint const source = open_model(path);
    require_same_model(source, policy);
    bool const divided = division && division->divides_weights();
    if (divided && !is_adapter(path)) {
      // A policy may share its division with a head of values behind it.
      std::size_t const own = parameters_of(policy.config).size();
      at::Tensor const head = division->names().size() > own ? at::zeros({1, policy.config.hidden}) : at::Tensor();
      members.push_back(load_own(source, *division, policy.compute, head));
      members.back().resize(own);
      continue;
    }
    pack whole = master_weights(load_model(path, source, policy.config), policy.compute);
    members.push_back(divided ? division->cut(whole) : std::move(whole));
  }
  return members;
}

std::vector<kedge::anchor_term<pack>> anchor_of(reference_choice const& choice, std::vector<pack> members, averaging const& average) {
  std::vector<double> weights = choice.weights;
  if (weights.empty()) weights.assign(members.size(), 1 / static_cast<double>(members.size()));
  if (choice.what == reference_kind::soup) return {{1, average(members, weights)}};
  std::vector<kedge::anchor_term<pack>> anchor;
  for (std::size_t j = 0; j < members.size(); ++j) anchor.push_back({weights[j], std::move(members[j])});
  return anchor;
}

std::vector<kedge::anchor_term<pack>> make_anchor(reference_choice const& choice, session const& policy, pack const& start,
                                                   divided_model const* division) {
  std::vector<kedge::anchor_term<pack>> anchor;
  if (choice.what == reference_kind::start || choice.what == reference_kind::ema) anchor.push_back({1, kedge::deep_copy(start)});
  if (choice.models.empty()) return anchor;
  std::vector<pack> members = load_members(choice.models, policy, division);
  return anchor_of(choice, std::move(members), [](std::vector<pack> const& all, std::vector<double> const& weights) {
    return kedge::affine_combination<pack>(weights, std::span<pack const>(all));
  });
}

}  // namespace kedge::llm
