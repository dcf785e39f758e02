// SPDX-License-Identifier: Apache-2.0
#include "adapter_layout.hpp"

#include <algorithm>
#include <cmath>
#include <regex>
#include <set>
#include <string_view>

#include <kedge/llm/base/error.hpp>

#include "../base/listed.hpp"

namespace kedge::llm {
namespace {

constexpr layer_slot linear_maps[] = {qkv_proj, q_proj, k_proj, v_proj, o_proj, gate_up_proj, gate_proj, up_proj, down_proj};
constexpr std::int64_t outside = -1;  // of all layers
constexpr std::string_view embedding_module = "model.embed_tokens", head_module = "lm_head", score_module = "score";

// "model.layers.3.self_attn.q_proj.weight" -> "model.layers.3.self_attn.q_proj"
std::string module_of(std::string const& name) { return name.substr(0, name.rfind('.')); }
// "model.layers.3.self_attn.q_proj" -> "q_proj"
std::string last_word(std::string const& module) { return module.substr(module.rfind('.') + 1); }

bool ends_as(std::string const& module, std::string const& name) { return module == name || module.ends_with("." + name); }

bool is_expression_of(std::string const& pattern, std::string const& module, char const* flag) try {
  return std::regex_match(module, std::regex(pattern));
} catch (std::regex_error const&) {
  throw error(std::string(flag) + " " + pattern + ": neither a module's name nor a regular expression");
}

// A list of names, or one regular expression of whole names.
bool matches_any(std::vector<std::string> const& names, std::string const& module, char const* flag) {
  bool const named = std::any_of(names.begin(), names.end(), [&](std::string const& name) { return ends_as(module, name); });
  return named || (names.size() == 1 && is_expression_of(names.front(), module, flag));
}

bool is_all_linear(std::vector<std::string> const& targets) { return targets == std::vector<std::string>{"all-linear"}; }

std::string experts_module(transformer_config const& c, std::int64_t layer) {
  return "model.layers." + std::to_string(layer) + (c.experts.names == expert_names::stacked ? ".block_sparse_moe.experts" : ".mlp.experts");
}

// What a module's name may be in a list: whole, or from a dot on, as short as its last word.
std::set<std::string> modules_that_take_adapters(transformer_config const& c) {
  std::set<std::string> all{std::string(embedding_module)};
  if (c.lm_head) all.insert(std::string(head_module));
  for (std::int64_t i = 0; i < c.layers; ++i)
    for (layer_slot const slot : linear_maps)
      if (parameter const map = layer_parameter(c, i, slot); !map.name.empty()) all.insert(module_of(map.name));
  return all;
}

void require_known(char const* flag, std::vector<std::string> const& names, std::set<std::string> const& modules, bool by_expression) {
  for (std::string const& name : names) {
    auto const found = [&](std::string const& module) { return by_expression ? matches_any({name}, module, flag) : module.ends_with(name); };
    if (std::any_of(modules.begin(), modules.end(), found)) continue;
    std::set<std::string> words;
    for (std::string const& module : modules) words.insert(last_word(module));
    throw error(std::string(flag) + ": the model's layers have no " + (by_expression ? "linear map " : "module ") + name + "; there are " + listed(words) +
                (by_expression ? ", or say all-linear" : ""));
  }
}

}  // namespace

adapter_layout::adapter_layout(transformer_config const& config, lora_settings settings) : config_(config), settings_(std::move(settings)) {
  if (settings_.rank < 1) throw error("--lora_r " + std::to_string(settings_.rank) + ": the rank must be at least 1");
  refuse_what_excludes();
  resolve_targets();
  std::string const embedding(embedding_module), head(head_module);
  // A head that is the embedding is one no more where one of the two is changed.
  if (config_.lm_head && (targets(embedding, outside) || saves(embedding) || targets(head, outside) || saves(head))) config_.tied_embeddings = false;
  std::vector<parameter> const base = parameters_of(config_);
  places_.resize(base.size() + 1);  // the last: of a head that the model hasn't got
  experts_.resize(static_cast<std::size_t>(config_.layers));
  add_products(base);
  add_vectors(base);
  add_whole(base);
  if (parameters_.empty()) throw error("--lora_target_modules: no module is left that is adapted or trained; see --lora_layers_to_transform and --lora_exclude_modules");
}

void adapter_layout::refuse_what_excludes() const {
  lora_settings const& s = settings_;
  bool const expression = s.target_modules.size() == 1 && s.target_modules.front().find_first_of("*+?[](){}|\\^$") != std::string::npos;
  if (expression && !s.layers_to_transform.empty())
    throw error("--lora_layers_to_transform goes with names; let the regular expression of --lora_target_modules say which layers");
  if (s.dora && s.bias_of_b) throw error("--lora_bias: DoRA has no bias of B; leave it or --use_dora out");
  for (std::int64_t const layer : s.layers_to_transform)
    if (layer < 0 || layer >= config_.layers)
      throw error("--lora_layers_to_transform " + std::to_string(layer) + ": the model has layers 0 to " + std::to_string(config_.layers - 1));
  if (config_.experts.biases && s.biases == trained_biases::all)
    throw error("--lora_train_bias all: biases of experts are not trained beside an adapter; take lora_only or none");
  if (s.target_parameters.empty()) return;
  if (config_.experts.count == 0) throw error("--lora_target_parameters: the model has no experts; use --lora_target_modules");
  if (s.dora || s.bias_of_b) throw error("--lora_target_parameters: stacked experts take neither --use_dora nor --lora_bias");
  for (std::string const& name : s.target_parameters) {
    std::string const module = experts_module(config_, 0);
    if (!ends_as(module + ".gate_up_proj", name) && !ends_as(module + ".down_proj", name))
      throw error("--lora_target_parameters: the model has no parameter " + name + "; it has " + module.substr(std::string_view("model.layers.0.").size()) + ".gate_up_proj and .down_proj");
  }
}

// Names in place of all-linear and of the default.
void adapter_layout::resolve_targets() {
  std::vector<std::string>& targets = settings_.target_modules;
  std::set<std::string> const modules = modules_that_take_adapters(config_);
  if (is_all_linear(targets)) {
    targets.clear();
    // Layers without experts between those with them have other maps.
    for (layer_slot const slot : linear_maps)
      for (std::int64_t i = 0; i < config_.layers; ++i)
        if (parameter const map = layer_parameter(config_, i, slot); !map.name.empty()) {
          targets.push_back(last_word(module_of(map.name)));
          break;
        }
  } else if (targets.empty() && settings_.target_parameters.empty()) {
    targets = config_.fused_qkv ? std::vector<std::string>{"qkv_proj"} : std::vector<std::string>{"q_proj", "v_proj"};
  } else {
    require_known("--lora_target_modules", targets, modules, /*by_expression=*/true);
  }
  if (config_.scalar_head) std::erase_if(settings_.modules_to_save, [](std::string const& name) { return name == score_module || name == "classifier"; });
  std::set<std::string> all;
  for (parameter const& p : parameters_of(config_))
    for (std::size_t end = p.name.rfind('.'); end != std::string::npos; end = p.name.rfind('.', end - 1)) all.insert(p.name.substr(0, end));
  if (config_.lm_head) all.insert(std::string(head_module));
  require_known("--lora_modules_to_save", settings_.modules_to_save, all, /*by_expression=*/false);
}

// A module whose name, or whose parent's, ends with a name of the list: PEFT looks for no dot before it.
bool adapter_layout::saves(std::string const& module) const {
  if (config_.scalar_head && module == score_module) return true;
  for (std::string part = module;; part = part.substr(0, part.rfind('.'))) {
    for (std::string const& name : settings_.modules_to_save)
      if (part.ends_with(name)) return true;
    if (part.find('.') == std::string::npos) return false;
  }
}

bool adapter_layout::targets(std::string const& module, std::int64_t layer) const {
  std::vector<std::int64_t> const& layers = settings_.layers_to_transform;
  return matches_any(settings_.target_modules, module, "--lora_target_modules") && !saves(module) &&
         !matches_any(settings_.exclude_modules, module, "--lora_exclude_modules") &&
         (layers.empty() || std::find(layers.begin(), layers.end(), layer) != layers.end());
}

std::int64_t adapter_layout::rank_of(std::string const& module) const {
  double const rank = settings_.rank_pattern.of(module).value_or(static_cast<double>(settings_.rank));
  if (rank < 1 || rank != std::floor(rank)) throw error("--lora_rank_pattern: " + nlohmann::json(rank).dump() + " is no rank; give positive integers");
  return static_cast<std::int64_t>(rank);
}

double adapter_layout::scale_of(std::string const& module) const {
  auto const rank = static_cast<double>(rank_of(module));
  return settings_.alpha_pattern.of(module).value_or(settings_.alpha) / (settings_.rslora ? std::sqrt(rank) : rank);
}

// module: whose rank and scale it has; name: of the module that holds the factors in a file
void adapter_layout::add_product(adapted_place& place, std::string const& module, std::string const& name, std::int64_t in, std::int64_t out, std::int64_t copies) {
  std::int64_t const rank = rank_of(module) * copies;
  place.a = parameters_.size();
  place.scale = scale_of(module);
  modules_.push_back(module);
  parameters_.push_back({"base_model.model." + name + ".lora_A.weight", {rank, in}, copies == 1 ? 0 : -1});
  parameters_.push_back({"base_model.model." + name + ".lora_B.weight", {out, rank}, copies == 1 ? 1 : -1});
}

void adapter_layout::add_products(std::vector<parameter> const& base) {
  transformer_config const& c = config_;
  slots const at(c);
  auto const wants = [&](std::string const& name) {
    return std::any_of(settings_.target_parameters.begin(), settings_.target_parameters.end(), [&](std::string const& wanted) { return ends_as(name, wanted); });
  };
  for (std::int64_t i = 0; i < c.layers; ++i) {
    for (layer_slot const slot : linear_maps)
      if (parameter const map = layer_parameter(c, i, slot); !map.name.empty() && targets(module_of(map.name), i))
        add_product(places_[at.of(i, slot)], module_of(map.name), module_of(map.name), map.shape[1], map.shape[0], 1);
    if (!c.has_experts(i)) continue;
    std::string const experts = experts_module(c, i);
    bool const down = wants(experts + ".down_proj");
    // A module that wraps a parameter wraps the one that wrapped the other: gate_up_proj lies within down_proj.
    if (wants(experts + ".gate_up_proj"))
      add_product(experts_[static_cast<std::size_t>(i)][0], experts + ".gate_up_proj", down ? experts + ".base_layer" : experts, c.hidden, 2 * c.experts.intermediate, c.experts.count);
    if (down) add_product(experts_[static_cast<std::size_t>(i)][1], experts + ".down_proj", experts, c.experts.intermediate, c.hidden, c.experts.count);
  }
  if (targets(std::string(embedding_module), outside)) add_embedding(base[at.embedding()]);
  std::string const head(head_module);
  if (c.lm_head && targets(head, outside)) add_product(places_[at.head()], head, head, c.hidden, c.vocabulary, 1);
}

void adapter_layout::add_embedding(parameter const& embedding) {
  std::string const module(embedding_module);
  if (settings_.bias_of_b) throw error("--lora_bias: an adapter of the embedding has no bias; leave it or embed_tokens out");
  adapted_place& place = places_.front();
  std::int64_t const rank = rank_of(module);
  place.a = parameters_.size();
  place.scale = scale_of(module);
  modules_.push_back(module);
  parameters_.push_back({"base_model.model." + module + ".lora_embedding_A", {rank, embedding.shape[0]}, 0});
  parameters_.push_back({"base_model.model." + module + ".lora_embedding_B", {embedding.shape[1], rank}, 1});
}

// Biases of B and magnitudes.
void adapter_layout::add_vectors(std::vector<parameter> const& base) {
  for (std::size_t i = 0; i < base.size(); ++i) {
    adapted_place& place = places_[i];
    if (place.a == adapted_place::none) continue;
    std::string const name = "base_model.model." + module_of(base[i].name);
    std::int64_t const out = base[i].shape[i == 0 ? 1 : 0];
    if (settings_.bias_of_b) {
      place.bias = parameters_.size();
      parameters_.push_back({name + ".lora_B.bias", {out}});
    }
    if (settings_.dora) {
      place.magnitude = parameters_.size();
      parameters_.push_back({name + ".lora_magnitude_vector", {1, out}});
    }
  }
}

void adapter_layout::add_whole(std::vector<parameter> const& base) {
  std::set<std::string> adapted(modules_.begin(), modules_.end());
  for (std::size_t i = 0; i < base.size(); ++i) {
    std::string const module = module_of(base[i].name);
    bool const is_bias = base[i].name.ends_with(".bias"), on_target = is_bias && adapted.contains(module);
    bool const biased = is_bias && (settings_.biases == trained_biases::all || (settings_.biases == trained_biases::of_targets && on_target));
    if (!saves(module) && !biased) continue;
    if (module.find("experts") != std::string::npos || module.find("block_sparse_moe") != std::string::npos)
      throw error("--lora_modules_to_save: experts are not trained whole beside an adapter; use --lora_target_parameters");
    places_[i].whole = parameters_.size();
    std::string const base_layer = on_target ? ".base_layer" : "";
    parameters_.push_back({"base_model.model." + module + base_layer + base[i].name.substr(module.size()), base[i].shape});
  }
}

}  // namespace kedge::llm
