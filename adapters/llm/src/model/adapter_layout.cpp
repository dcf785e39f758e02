// SPDX-License-Identifier: Apache-2.0
#include "adapter_layout.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

struct linear_map {
  lora_target target;
  layer_slot slot;
};
constexpr linear_map linear_maps[] = {{lora_target::qkv_proj, qkv_proj}, {lora_target::q_proj, q_proj},   {lora_target::k_proj, k_proj},
                                      {lora_target::v_proj, v_proj},     {lora_target::o_proj, o_proj},   {lora_target::gate_up_proj, gate_up_proj},
                                      {lora_target::gate_proj, gate_proj}, {lora_target::up_proj, up_proj}, {lora_target::down_proj, down_proj}};

// "model.layers.3.self_attn.q_proj.weight" -> "model.layers.3.self_attn.q_proj"
std::string module_of(transformer_config const& config, std::int64_t layer, layer_slot slot) {
  std::string const name = layer_parameter(config, layer, slot).name;
  return name.substr(0, name.rfind('.'));
}

}  // namespace

adapter_layout::adapter_layout(transformer_config const& config, lora_settings settings) : config_(config), settings_(std::move(settings)) {
  if (settings_.rank < 1) throw error("--lora_r " + std::to_string(settings_.rank) + ": the rank must be at least 1");
  std::vector<lora_target> wanted = settings_.target_modules;
  if (wanted.empty()) wanted = config.fused_qkv ? std::vector{lora_target::qkv_proj} : std::vector{lora_target::q_proj, lora_target::v_proj};
  bool const all = wanted == std::vector{lora_target::all_linear};
  settings_.target_modules.clear();
  std::string there;
  for (auto const& [target, slot] : linear_maps) {
    if (layer_parameter(config, 0, slot).name.empty()) continue;
    there += (there.empty() ? "" : ", ") + std::string(name_of(target));
    auto const found = std::find(wanted.begin(), wanted.end(), target);
    if (!all && found == wanted.end()) continue;
    if (!all) wanted.erase(found);
    targets_.push_back(slot);
    settings_.target_modules.push_back(target);
  }
  if (!all && !wanted.empty())
    throw error("--lora_target_modules: the model's layers have no linear map " + std::string(name_of(wanted.front())) + "; they have " + there +
                ", or say all-linear");
}

std::vector<parameter> adapter_layout::parameters() const {
  std::vector<parameter> all;
  for (std::int64_t i = 0; i < config_.layers; ++i)
    for (layer_slot const slot : targets_) {
      parameter const map = layer_parameter(config_, i, slot);
      std::string const name = "base_model.model." + module_of(config_, i, slot);
      all.push_back({name + ".lora_A.weight", {settings_.rank, map.shape[1]}, 0});
      all.push_back({name + ".lora_B.weight", {map.shape[0], settings_.rank}, 1});
    }
  if (config_.scalar_head) all.push_back({"base_model.model.score.weight", {1, config_.hidden}});
  return all;
}

std::optional<std::size_t> adapter_layout::of(std::int64_t layer, layer_slot slot) const {
  auto const found = std::find(targets_.begin(), targets_.end(), slot);
  if (found == targets_.end()) return {};
  return 2 * (static_cast<std::size_t>(layer) * targets_.size() + static_cast<std::size_t>(found - targets_.begin()));
}

double adapter_layout::scale() const {
  auto const rank = static_cast<double>(settings_.rank);
  return settings_.alpha / (settings_.rslora ? std::sqrt(rank) : rank);
}

}  // namespace kedge::llm
