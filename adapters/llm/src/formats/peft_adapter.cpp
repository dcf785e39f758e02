// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <regex>
#include <set>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>

#include "../base/thread_pool.hpp"
#include "peft_experts.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// Keys of PEFT 0.21's LoraConfig that are read here, or say only how an adapter was begun or is to be trained.
constexpr std::array harmless{"auto_mapping",
                              "base_model_name_or_path",
                              "inference_mode",
                              "lora_alpha",
                              "lora_dropout",
                              "modules_to_save",
                              "peft_type",
                              "peft_version",
                              "r",
                              "revision",
                              "target_modules",
                              "target_parameters",
                              "task_type",
                              "use_rslora",
                              "use_dora",
                              "rank_pattern",
                              "alpha_pattern",
                              "exclude_modules",
                              "layers_pattern",
                              "layers_to_transform",
                              "lora_bias",
                              "bias",
                              "trainable_token_indices",
                              "init_lora_weights",
                              "loftq_config",
                              "eva_config",
                              "corda_config",
                              "lora_ga_config",
                              "megatron_core",
                              "megatron_config",
                              "runtime_config",
                              "qalora_group_size",
                              "ensure_weight_tying",
                              "fan_in_fan_out"};
// Keys that change what the adapter computes, and aren't read: they must be absent, null, false or empty.
constexpr std::array foreign{"use_qalora",   "layer_replication", "alora_invocation_tokens", "use_bdlora",
                             "arrow_config", "kasa_config",       "monteclora_config",       "velora_config"};
// What init_lora_weights may say: other ways change the base as well.
constexpr std::array beginnings{"gaussian", "orthogonal", "eva"};

bool is_off(json const& value) {
  return value.is_null() || value == json(false) || (value.is_structured() && value.empty()) || value == json("") ||
         value == json(0);
}

template <std::size_t n>
bool contains(std::array<char const*, n> const& list, std::string const& key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

std::string without(std::string name, std::string const& part) {
  for (auto at = name.find(part); at != std::string::npos; at = name.find(part)) name.erase(at, part.size());
  return name;
}

// PEFT matches the end of a module's name, from a dot on.
bool matches(std::string const& pattern, std::string const& module) {
  return std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"));
}

std::int64_t elements(std::vector<std::int64_t> const& shape) {
  std::int64_t n = 1;
  for (std::int64_t const extent : shape) n *= extent;
  return n;
}

std::string module_of(std::string const& name) { return name.substr(0, name.rfind('.')); }

}  // namespace

bool is_adapter(fs::path const& folder) { return fs::exists(folder / "adapter_config.json"); }

void peft_adapter::fail(std::string const& what) const {
  throw error((folder_ / "adapter_config.json").string() + ": " + what);
}

peft_adapter::peft_adapter(fs::path folder) : folder_(std::move(folder)) {
  fs::path const described = folder_ / "adapter_config.json", file = folder_ / "adapter_model.safetensors";
  if (!fs::exists(described)) throw error(described.string() + ": there is no such file; give a folder that PEFT wrote");
  config_ = read_json_file(described);
  if (!config_.is_object()) fail("not a JSON object; fetch the adapter again");
  try {
    check_config();
    base_ = config_.value("base_model_name_or_path", json()).is_string() ? config_["base_model_name_or_path"].get<std::string>()
                                                                         : "";
    if (json const type = config_.value("task_type", json()); type.is_string())
      task_ = from_name<peft_task>(type.get<std::string>()).value_or(peft_task::language_model);
  } catch (json::exception const& e) {
    fail(std::string("a key is missing or of the wrong kind (") + reason_of(e) + ")");
  }
  if (!fs::exists(file)) throw error(file.string() + ": there is no such file; kedge reads adapters from safetensors only");
  file_ = std::make_shared<safetensors_file const>(file);
  add_tensors();
}

void peft_adapter::check_config() {
  if (config_.value("peft_type", json("LORA")) != "LORA")
    fail("peft_type = " + config_["peft_type"].dump() + " is not supported; kedge reads LoRA and DoRA");
  if (!config_.at("lora_alpha").is_number()) fail("lora_alpha is not a number");
  if (json const bias = config_.value("bias", json("none")); bias != "none" && bias != "all" && bias != "lora_only")
    fail("bias = " + bias.dump() + " is not supported; PEFT knows none, all and lora_only");
  if (config_.value("fan_in_fan_out", json(false)) == json(true))
    fail("fan_in_fan_out = true is not supported: no family that kedge knows stores its maps transposed");
  for (char const* const key : foreign)
    if (config_.contains(key) && !is_off(config_[key]))
      fail(std::string(key) + " = " + config_[key].dump() + " is not supported; merge the adapter with PEFT first");
  if (json const init = config_.value("init_lora_weights", json(true));
      init.is_string() && !contains(beginnings, init.get<std::string>()))
    fail("init_lora_weights = " + init.dump() + " is not supported; convert the adapter to a plain one with PEFT");
  for (auto const& [key, value] : config_.items())
    if (!contains(harmless, key) && !contains(foreign, key) && !is_off(value)) unknown_ += (unknown_.empty() ? "" : ", ") + key;
}

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" becomes "model.layers.0.self_attn.q_proj.lora_A.weight".
void peft_adapter::add_tensors() {
  for (std::size_t i = 0; i < file_->tensors().size(); ++i) {
    safetensors_entry const& t = file_->tensors()[i];
    std::string name = t.name;
    while (name.starts_with("base_model.model.")) name.erase(0, std::string_view("base_model.model.").size());
    name = without(without(name, "language_model."), "modules_to_save.");
    if (name.ends_with("lora_magnitude_vector.weight")) name = module_of(name);
    if (!t.type || !is_floating(*t.type))
      throw error(file_->path().string() + ": tensor " + t.name + " is stored as " + t.stored_type +
                  ", which is no floating-point type");
    tensors_.emplace(name, i);
  }
  if (config_.value("use_dora", json(false)) != true) return;
  for (auto const& [name, index] : tensors_)
    if (name.ends_with(".lora_A.weight") && !has(module_of(module_of(name)), "lora_magnitude_vector"))
      fail("use_dora is true, but adapter_model.safetensors has no lora_magnitude_vector of " + module_of(module_of(name)));
}

std::optional<peft_adapter::tensor> peft_adapter::read(std::string const& module, char const* end) const {
  auto const found = tensors_.find(module + "." + end);
  if (found == tensors_.end()) return std::nullopt;
  safetensors_entry const& t = file_->tensors()[found->second];
  tensor out{t.shape, std::vector<float>(static_cast<std::size_t>(elements(t.shape)))};
  convert(*t.type, t.bytes, dtype::f32, std::as_writable_bytes(std::span(out.numbers)));
  return out;
}

std::map<std::string, low_rank_entry, std::less<>> peft_adapter::products() const {
  std::map<std::string, low_rank_entry, std::less<>> all;
  if (config_.contains("target_parameters") && !is_off(config_["target_parameters"]))
    fail("target_parameters: factors of stacked experts; merge the adapter into its base first (kedge merge)");
  for (auto const& [name, index] : tensors_) {
    safetensors_entry const& t = file_->tensors()[index];
    bool const is_a = name.ends_with(".lora_A.weight");
    if ((!is_a && !name.ends_with(".lora_B.weight")) || t.shape.size() != 2)
      throw error(file_->path().string() + ": tensor " + in_quotes(t.name) +
                  " is no factor of a linear map; merge the adapter into its base first (kedge merge)");
    std::string const module = module_of(module_of(name));
    low_rank_entry& entry = all[module + ".weight"];
    (is_a ? entry.a : entry.b) = t;
    if (is_a) entry.scale = scale_of(module, t.shape[0]);
  }
  if (all.empty()) throw error(file_->path().string() + " holds no tensors; fetch the adapter again");
  return all;
}

json peft_adapter::by_pattern(char const* key, std::string const& module, json otherwise) const {
  if (config_.contains(key) && config_[key].is_object())
    for (auto const& [pattern, value] : config_[key].items()) try {
        if (!matches(pattern, module)) continue;
        otherwise = value;
        break;
      } catch (std::regex_error const&) {
        fail(std::string(key) + ": " + in_quotes(pattern) + " is no regular expression");
      }
  if (!otherwise.is_number()) fail(std::string(key) + ": " + otherwise.dump() + " is not a number");
  return otherwise;
}

double peft_adapter::scale_of(std::string const& module, std::int64_t rank) const {
  json const alpha = by_pattern("alpha_pattern", module, config_["lora_alpha"]);
  auto const r = static_cast<double>(rank);
  return alpha.get<double>() / (config_.value("use_rslora", json(false)) == json(true) ? std::sqrt(r) : r);
}

// By a copy that the adapter holds: of a module saved whole, of an embedding that was resized or has an adapter, of biases.
void peft_adapter::replace(std::string const& name, std::vector<std::int64_t>& shape, std::vector<float>& numbers) const {
  std::string const module = module_of(name), end = name.substr(module.size() + 1);
  for (std::string const& of : {"base_layer." + end, end})
    if (auto whole = read(module, of.c_str())) {
      if (!shape.empty() && (whole->shape.size() != shape.size() || (shape.size() == 2 && whole->shape[1] != shape[1])))
        throw error(file_->path().string() + ": tensor " + name +
                    " has another shape than in the base; the adapter belongs to another model");
      shape = std::move(whole->shape);
      numbers = std::move(whole->numbers);
    }
}

std::vector<std::int64_t> peft_adapter::token_indices(std::string const& module) const {
  json const given = config_.value("trainable_token_indices", json());
  if (given.is_array()) return given.get<std::vector<std::int64_t>>();
  if (given.is_object())
    for (auto const& [key, list] : given.items())
      if (matches(key, module)) return list.get<std::vector<std::int64_t>>();
  fail("trainable_token_indices doesn't say which tokens of " + module + " the adapter trains");
}

void peft_adapter::put_tokens(std::string const& module, std::vector<std::int64_t> const& shape,
                              std::vector<float>& numbers) const {
  auto const rows = read(module, "token_adapter.trainable_tokens_delta");
  if (!rows) return;
  std::vector<std::int64_t> const ids = token_indices(module);
  auto const width = static_cast<std::size_t>(shape.at(1));
  if (rows->numbers.size() != ids.size() * width)
    fail("trainable_token_indices names another number of tokens than the adapter holds");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= shape[0])
      fail("trainable_token_indices: token " + std::to_string(ids[i]) + " is beyond the vocabulary");
    std::copy_n(rows->numbers.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                numbers.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(ids[i]) * width));
  }
}

void peft_adapter::add_product(std::string const& module, std::vector<std::int64_t> const& shape,
                               std::vector<float>& numbers) const {
  bool const embeds = has(module, "lora_embedding_A");
  auto a = read(module, embeds ? "lora_embedding_A" : "lora_A.weight");
  auto b = read(module, embeds ? "lora_embedding_B" : "lora_B.weight");
  if (!a && !b) return;
  std::string const where = file_->path().string() + ": the factors of " + module;
  if (!a || !b || a->shape.size() != 2 || b->shape.size() != 2 || a->shape[0] != b->shape[1])
    throw error(where + " don't fit each other");
  // An embedding is looked up by rows: its product is that of a map from tokens, transposed.
  std::int64_t const rows = shape.at(0), columns = shape.at(1), rank = a->shape[0];
  if ((embeds ? a->shape[1] : b->shape[0]) != rows || (embeds ? b->shape[0] : a->shape[1]) != columns)
    throw error(where + " have other shapes than the base; the adapter belongs to another model");
  double const scale = scale_of(module, rank);
  auto const R = static_cast<std::size_t>(rank), N = static_cast<std::size_t>(columns), M = static_cast<std::size_t>(rows);
  shared_pool().divide(M, 1 + (1 << 16) / (R * N + 1), [&](std::size_t first, std::size_t last) {
    std::vector<float> sum(N);
    for (std::size_t i = first; i < last; ++i) {
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::size_t k = 0; k < R; ++k) {
        float const left = embeds ? a->numbers[k * M + i] : b->numbers[i * R + k];
        if (embeds)
          for (std::size_t j = 0; j < N; ++j) sum[j] += left * b->numbers[j * R + k];
        else
          for (std::size_t j = 0; j < N; ++j) sum[j] += left * a->numbers[k * N + j];
      }
      for (std::size_t j = 0; j < N; ++j) numbers[i * N + j] += static_cast<float>(scale) * sum[j];
    }
  });
}

// DoRA: every row of a map, or column of an embedding, gets the length that the adapter says.          arXiv 2402.09353, (5)
void peft_adapter::rescale(std::string const& module, std::vector<std::int64_t> const& shape, bool by_column,
                           std::vector<float>& numbers) const {
  auto const magnitude = read(module, "lora_magnitude_vector");
  if (!magnitude) return;
  auto const M = static_cast<std::size_t>(shape.at(0)), N = static_cast<std::size_t>(shape.at(1)), lines = by_column ? N : M;
  if (magnitude->numbers.size() != lines)
    throw error(file_->path().string() + ": lora_magnitude_vector of " + module + " has another length than its base");
  std::vector<double> squares(lines);
  for (std::size_t i = 0; i < M; ++i)
    for (std::size_t j = 0; j < N; ++j)
      squares[by_column ? j : i] += static_cast<double>(numbers[i * N + j]) * static_cast<double>(numbers[i * N + j]);
  for (std::size_t i = 0; i < M; ++i)
    for (std::size_t j = 0; j < N; ++j) {
      std::size_t const line = by_column ? j : i;
      numbers[i * N + j] = static_cast<float>(static_cast<double>(numbers[i * N + j]) *
                                              static_cast<double>(magnitude->numbers[line]) / std::sqrt(squares[line]));
    }
}

void peft_adapter::merge(std::string const& name, std::vector<std::int64_t>& shape, std::vector<float>& numbers) const {
  std::string const module = module_of(name);
  replace(name, shape, numbers);
  if (name.ends_with(".bias")) {
    auto const bias = read(module, "lora_B.bias");
    if (!bias) return;
    auto const a = read(module, "lora_A.weight");
    if (bias->numbers.size() != numbers.size() || !a)
      throw error(file_->path().string() + ": lora_bias: " + module + " has no bias that that of B could be added to");
    double const scale = scale_of(module, a->shape[0]);
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] += static_cast<float>(scale * static_cast<double>(bias->numbers[i]));
    return;
  }
  add_expert_product(name, shape, numbers);
  if (numbers.empty() || shape.size() != 2 || !name.ends_with(".weight")) return;
  put_tokens(module, shape, numbers);
  add_product(module, shape, numbers);
  rescale(module, shape, has(module, "lora_embedding_A"), numbers);
}

bool peft_adapter::unties_head() const {
  auto const saved = [&](std::string const& module) {
    json const names = config_.value("modules_to_save", json());
    return names.is_array() &&
           std::any_of(names.begin(), names.end(), [&](json const& n) { return n.is_string() && module.ends_with(n.get<std::string>()); });
  };
  return has("lm_head", "lora_A.weight") || has("model.embed_tokens", "lora_embedding_A") || saved("model.embed_tokens") ||
         saved("lm_head");
}

std::vector<std::string> peft_adapter::biases() const {
  constexpr std::string_view end = ".lora_B.bias";
  std::vector<std::string> names;
  for (auto const& [name, index] : tensors_)
    if (name.ends_with(end)) names.push_back(name.substr(0, name.size() - end.size()) + ".bias");
  return names;
}

std::optional<std::int64_t> peft_adapter::vocabulary() const {
  for (char const* const name : {"model.embed_tokens.weight", "model.embed_tokens.base_layer.weight"})
    if (auto const found = tensors_.find(name); found != tensors_.end()) return file_->tensors()[found->second].shape.at(0);
  return std::nullopt;
}

void peft_adapter::require_all_taken(std::vector<std::string> const& parameters) const {
  std::set<std::string> known(parameters.begin(), parameters.end());
  for (std::string const& name : parameters)
    if (auto const weight = expert_weight_of(name)) known.insert({weight->module + ".weight", weight->module + ".base_layer.weight"});
  for (auto const& [name, index] : tensors_) {
    // The parameter that takes it: "X.lora_A.weight" is taken by X.weight, "X.base_layer.bias" by X.bias.
    std::string module = name, end = "weight";
    for (char const* const part : {".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_embedding_A", ".lora_embedding_B",
                                   ".lora_magnitude_vector", ".token_adapter.trainable_tokens_delta", ".base_layer.weight",
                                   ".base_layer.bias", ".weight", ".bias"})
      if (name.ends_with(part)) {
        module = name.substr(0, name.size() - std::string_view(part).size());
        if (std::string_view(part).ends_with(".bias")) end = "bias";
        break;
      }
    // A head that stays the embedding is stored beside it where both were resized.
    if (known.contains(module + "." + end) || (name == "lm_head.weight" && !unties_head())) continue;
    throw error(file_->path().string() + ": tensor " + file_->tensors()[index].name +
                (name.ends_with(".lora_B.bias") ? " needs a bias in the base, which has none (lora_bias)"
                                                : " changes nothing that the base has; the adapter belongs to another model"));
  }
}

}  // namespace kedge::llm
