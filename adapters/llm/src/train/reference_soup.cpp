// SPDX-License-Identifier: Apache-2.0
#include "reference_soup.hpp"

#include <charconv>
#include <cmath>
#include <sstream>

#include <kedge/soup.hpp>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/model/weights.hpp>

namespace kedge::llm {
namespace {

std::vector<std::string> split(std::string const& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

double weight_from(std::string const& text) {
  double value = 0;
  auto const [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    throw error("--reference: weight '" + text + "' is not a number; write soup:DIR,DIR@0.5,0.5");
  return value;
}

void require_same_model(checkpoint const& other, session const& policy) {
  std::string const who = other.path().string(), mine = policy.source.path().string();
  transformer_config config = read_config(other.config, who);
  std::vector<parameter> const theirs = parameters_of(config), ours = parameters_of(policy.config);
  for (std::size_t i = 0; i < std::max(theirs.size(), ours.size()); ++i)
    if (i >= theirs.size() || i >= ours.size() || theirs[i].name != ours[i].name || theirs[i].shape != ours[i].shape)
      throw error(who + ": its tensors differ from those of " + mine + " (" + (i < ours.size() ? ours[i].name : theirs[i].name) +
                  "); only models of one architecture and size can be averaged");
  config.max_positions = policy.config.max_positions;
  if (config != policy.config) throw error(who + ": its config says another model than that of " + mine + " (rotary embedding, say); they can't be averaged");
  if (other.tokenizer.value("/model/vocab"_json_pointer, nlohmann::ordered_json()) !=
      policy.source.tokenizer.value("/model/vocab"_json_pointer, nlohmann::ordered_json()))
    throw error(who + ": its vocabulary differs from that of " + mine + "; only models with the same tokenizer can be averaged");
}

}  // namespace

reference_choice parse_reference(std::string const& text) {
  reference_choice choice;
  if (text.empty()) return choice;
  std::string rest = text;
  choice.what = reference_choice::kind::soup;
  if (rest.rfind("soup:", 0) == 0) {
    rest.erase(0, 5);
  } else if (rest.rfind("mkl:", 0) == 0) {
    rest.erase(0, 4);
    choice.what = reference_choice::kind::mkl;
  } else {
    choice.models = {rest};
    return choice;
  }
  if (auto const at = rest.rfind('@'); at != std::string::npos) {
    for (std::string const& weight : split(rest.substr(at + 1))) choice.weights.push_back(weight_from(weight));
    rest.resize(at);
  }
  for (std::string const& model : split(rest)) choice.models.emplace_back(model);
  if (choice.models.empty()) throw error("--reference " + text + ": no models; write soup:DIR,DIR or soup:DIR,DIR@0.5,0.5");
  if (!choice.weights.empty() && choice.weights.size() != choice.models.size())
    throw error("--reference: " + std::to_string(choice.weights.size()) + " weights for " + std::to_string(choice.models.size()) + " models; give one each");
  double sum = 0;
  for (double const weight : choice.weights) sum += weight;
  if (!choice.weights.empty() && std::abs(sum - 1) > 1e-9)
    throw error("--reference: the weights sum to " + std::to_string(sum) + "; they must sum to 1");
  return choice;
}

std::vector<pack> load_members(std::vector<std::filesystem::path> const& models, session const& policy) {
  std::vector<pack> members;
  for (auto const& path : models) {
    checkpoint const source = checkpoint::open(path);
    require_same_model(source, policy);
    members.push_back(master_weights(load_parameters(source, policy.config), policy.compute));
  }
  return members;
}

std::vector<kedge::anchor_term<pack>> make_anchor(reference_choice const& choice, session const& policy, pack const& start) {
  std::vector<kedge::anchor_term<pack>> anchor;
  if (choice.what == reference_choice::kind::start) {
    anchor.push_back({1, kedge::deep_copy(start)});
    return anchor;
  }
  std::vector<pack> members = load_members(choice.models, policy);
  std::vector<double> weights = choice.weights;
  if (weights.empty()) weights.assign(members.size(), 1 / static_cast<double>(members.size()));
  if (choice.what == reference_choice::kind::soup) {
    anchor.push_back({1, kedge::affine_combination<pack>(weights, std::span<pack const>(members))});
    return anchor;
  }
  for (std::size_t j = 0; j < members.size(); ++j) anchor.push_back({weights[j], std::move(members[j])});
  return anchor;
}

}  // namespace kedge::llm
