// SPDX-License-Identifier: Apache-2.0
#include "adapter_soup.hpp"

#include <filesystem>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/lora.hpp>

#include "../model/model_tensors.hpp"
#include "reference_soup.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

// Scales of the products, in their order.
std::vector<double> scales_of(adapter_layout const& layout, std::size_t parameters) {
  std::vector<double> scales(layout.products(), 1);
  auto const see = [&](adapted_place const& place) {
    if (place.a != adapted_place::none) scales[place.a / 2] = place.scale;
  };
  for (std::size_t i = 0; i < parameters; ++i) see(layout.of(i));
  for (std::int64_t layer = 0; layer < layout.config().layers; ++layer)
    for (bool const down : {false, true})
      if (layout.config().has_experts(layer)) see(layout.of_experts(layer, down));
  return scales;
}

bool same_names(std::vector<parameter> const& a, std::vector<parameter> const& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].name != b[i].name) return false;
  return true;
}

// An adapter of the policy's base, its B times what its scale is to the policy's.
pack read_member(fs::path const& path, session const& policy, causal_lm const& model) {
  adapted_base const& base = *model.adapted();
  fs::path const below = policy.source.path();
  if (!is_adapter(path)) {
    if (fs::exists(path) && fs::equivalent(path, below)) return master_weights(initial_adapter(model, 0), policy.compute);
    throw error(path.string() + ": not an adapter of " + below.string() +
                "; with --use_peft a --reference is made of adapters of the base that is trained on, or of that base");
  }
  peft_adapter const files(path);
  fs::path const own_base = base_of_adapter(path).value();
  if (!fs::exists(own_base) || !fs::equivalent(own_base, below))
    throw error(path.string() + ": its base is " + own_base.string() + ", not " + below.string() + "; adapters of one base can be averaged");
  lora_settings const settings = settings_of(files);
  causal_lm const own(policy.config, model.settings(), settings, base_weights{base.weights, base.stored});
  if (!same_names(own.parameters(), model.parameters()))
    throw error(path.string() + ": it adapts other modules than the policy's adapter (--lora_target_modules); adapters of the same modules can be averaged");
  bool const turns = settings.dora || base.layout.settings().dora, with_bias = settings.bias_of_b;
  if (turns || with_bias)
    throw error(path.string() + (turns ? ": an adapter with DoRA is no product, and has no average; train without --use_dora" : ": its B has biases, which are not averaged"));
  pack member = master_weights(read_adapter(files, own), policy.compute);
  std::size_t const parameters = parameters_of(policy.config).size();
  std::vector<double> const theirs = scales_of(own.adapted()->layout, parameters), ours = scales_of(base.layout, parameters);
  for (std::size_t i = 0; i < ours.size(); ++i) member[2 * i + 1].mul_(theirs[i] / ours[i]);
  return member;
}

pack average(std::vector<pack> const& members, std::vector<double> const& weights, std::size_t products) {
  pack sum;
  for (std::size_t i = 0; i < members.front().size(); ++i) {
    bool const is_factor = i < 2 * products, is_b = i % 2 == 1;
    std::vector<at::Tensor> parts;
    for (std::size_t j = 0; j < members.size(); ++j) parts.push_back(is_factor && !is_b ? members[j][i] : members[j][i] * weights[j]);
    if (is_factor) {
      sum.push_back(at::cat(parts, is_b ? 1 : 0));
      continue;
    }
    at::Tensor total = parts.front();
    for (std::size_t j = 1; j < parts.size(); ++j) total = total + parts[j];
    sum.push_back(total);
  }
  bound_rank(sum, products);
  return sum;
}

}  // namespace

std::vector<kedge::anchor_term<pack>> make_adapter_anchor(reference_choice const& choice, session const& policy, causal_lm const& model, pack const& start) {
  if (choice.models.empty()) return {{1, kedge::deep_copy(start)}};
  at::NoGradGuard const no_grad;
  std::vector<pack> members;
  for (fs::path const& path : choice.models) members.push_back(read_member(path, policy, model));
  return anchor_of(choice, std::move(members),
                   [&](std::vector<pack> const& all, std::vector<double> const& weights) { return average(all, weights, products_of(model)); });
}

}  // namespace kedge::llm
