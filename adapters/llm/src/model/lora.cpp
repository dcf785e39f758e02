// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/lora.hpp>

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/weights.hpp>

#include "model_tensors.hpp"
#include "ops.hpp"
#include "side_by_side.hpp"
#include "stored_tensors.hpp"
#include "tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// Numbers of the modules: the first one's, and by full names those that differ.
std::pair<double, json> by_module(std::vector<std::string> const& modules, std::vector<double> const& numbers) {
  json pattern = json::object();
  for (std::size_t i = 0; i < modules.size(); ++i)
    if (std::abs(numbers[i] - numbers.front()) > 1e-9 * numbers.front()) pattern[modules[i]] = numbers[i];
  return {numbers.front(), std::move(pattern)};
}

json whole_if_it_is(double x) { return x == std::floor(x) ? json(static_cast<std::int64_t>(x)) : json(x); }

// r, lora_alpha and their patterns: the settings', or where extrapolation has made ranks grow, those that keep every scale.
void put_ranks(json& config, adapter_layout const& layout, pack const& adapter) {
  lora_settings const& s = layout.settings();
  std::vector<double> ranks, alphas;
  bool grown = false;
  for (std::size_t i = 0; i < layout.products(); ++i) {
    std::int64_t const rank = adapter[2 * i].size(0), asked = layout.parameters()[2 * i].shape[0];
    grown = grown || rank != asked;
    double const factor = static_cast<double>(rank) / static_cast<double>(asked);
    double const own_rank = s.rank_pattern.of(layout.modules()[i]).value_or(static_cast<double>(s.rank)), alpha = s.alpha_pattern.of(layout.modules()[i]).value_or(s.alpha);
    ranks.push_back(own_rank * factor);
    alphas.push_back(alpha * (s.rslora ? std::sqrt(factor) : factor));
  }
  if (!grown) {
    config.update({{"r", s.rank}, {"lora_alpha", whole_if_it_is(s.alpha)}, {"rank_pattern", as_json(s.rank_pattern)}, {"alpha_pattern", as_json(s.alpha_pattern)}});
    return;
  }
  auto const [rank, rank_pattern] = by_module(layout.modules(), ranks);
  auto const [alpha, alpha_pattern] = by_module(layout.modules(), alphas);
  config["r"] = whole_if_it_is(rank);
  config["lora_alpha"] = whole_if_it_is(alpha);
  config["rank_pattern"] = json::object();
  for (auto const& [module, value] : rank_pattern.items()) config["rank_pattern"][module] = whole_if_it_is(value.get<double>());
  config["alpha_pattern"] = alpha_pattern;
}

json list_or_null(auto const& list) { return list.empty() ? json(nullptr) : json(list); }

// PEFT takes a list for names, and a text for a regular expression.
json targets_of(lora_settings const& s) {
  if (s.target_modules.empty()) return nullptr;
  bool const expression = s.target_modules.size() == 1 && s.target_modules.front().find_first_of("*+?[](){}|\\^$") != std::string::npos;
  return expression ? json(s.target_modules.front()) : json(s.target_modules);
}

json config_of(causal_lm const& model, checkpoint const& source, pack const& adapter) {
  adapter_layout const& layout = model.adapted()->layout;
  lora_settings const& s = layout.settings();
  bool const reward = model.config().scalar_head;
  std::vector<std::string> saved = s.modules_to_save;
  if (reward) saved.insert(saved.begin(), {"classifier", "score"});
  json config{{"base_model_name_or_path", fs::absolute(source.path()).lexically_normal().string()},
              {"bias", name_of(s.biases)},
              {"exclude_modules", list_or_null(s.exclude_modules)},
              {"fan_in_fan_out", false},
              {"inference_mode", true},
              {"init_lora_weights", true},
              {"layers_to_transform", list_or_null(s.layers_to_transform)},
              {"lora_bias", s.bias_of_b},
              {"lora_dropout", 0.0},
              {"modules_to_save", list_or_null(saved)},
              {"peft_type", "LORA"},
              {"target_modules", targets_of(s)},
              {"target_parameters", list_or_null(s.target_parameters)},
              {"task_type", name_of(reward ? peft_task::sequence_score : peft_task::language_model)},
              {"use_dora", s.dora},
              {"use_rslora", s.rslora}};
  put_ranks(config, layout, adapter);
  return config;
}

}  // namespace

base_weights frozen_base(transformer_config const& config, compute_settings const& compute, lora_settings const& lora, pack base) {
  adapter_layout const layout(config, lora);
  transformer_config const& own = layout.config();
  std::size_t const head = slots(own).head();
  bool const has_head = base.size() > head && base[head].size(0) == own.vocabulary && base[head].dim() == 2;
  if (own.lm_head && !own.tied_embeddings && !has_head) base.insert(base.begin() + static_cast<std::ptrdiff_t>(head), base.front());
  std::vector<std::vector<std::size_t>> groups = kin_of(parameters_of(own));
  for (std::vector<std::size_t>& group : groups) std::erase_if(group, [&](std::size_t i) { return layout.of(i).whole != adapted_place::none; });
  convert_side_by_side(base, groups, compute.device, compute.type);
  return {std::move(base), nullptr};
}

std::size_t products_of(causal_lm const& model) { return model.adapted() ? model.adapted()->layout.products() : 0; }

pack initial_adapter(causal_lm const& model, std::uint64_t seed) {
  at::NoGradGuard const no_grad;
  at::Generator random = at::detail::createCPUGenerator(seed);
  adapted_base const& base = *model.adapted();
  std::vector<parameter> const& all = base.layout.parameters();
  pack adapter;
  for (std::size_t i = 0; i < 2 * base.layout.products(); i += 2) {
    bool const embeds = all[i].name.ends_with(".lora_embedding_A");
    double const bound = 1 / std::sqrt(static_cast<double>(all[i].shape[1]));
    adapter.push_back(embeds ? at::zeros(all[i].shape) : at::empty(all[i].shape).uniform_(-bound, bound, random));
    adapter.push_back(embeds ? at::empty(all[i + 1].shape).normal_(0, 1, random) : at::zeros(all[i + 1].shape));
  }
  adapter.resize(all.size());
  for (std::size_t i = 0; i < base.weights.size(); ++i) {
    adapted_place const& place = base.layout.of(i);
    at::Tensor const& w = base.weights[i];
    if (place.bias != adapted_place::none) adapter[place.bias] = at::zeros(all[place.bias].shape);
    if (place.magnitude != adapted_place::none) {
      at::Tensor const lengths = w.defined() ? ops::wide(w).norm(2, i == 0 ? 0 : 1) : row_lengths(base.stored->all[i]);
      adapter[place.magnitude] = lengths.view(all[place.magnitude].shape).to(at::kCPU, at::kFloat);
    }
    if (place.whole != adapted_place::none) adapter[place.whole] = w.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  if (model.config().scalar_head) adapter.pop_back();
  return adapter;
}

void merge_adapter(causal_lm const& model, pack& theta, pack const& adapter) {
  at::NoGradGuard const no_grad;
  model_tensors const tensors = model_tensors::weights(model, adapter);
  for (std::size_t i = 0; i < theta.size(); ++i) {
    adapted_place const& place = model.adapted()->layout.of(i);
    if (place.a != adapted_place::none || place.whole != adapted_place::none) theta[i].copy_(tensors.merged(i));
  }
}

void extrapolate_product(pack const& now, double alpha, pack& before, std::size_t products) {
  at::NoGradGuard const no_grad;
  for (std::size_t i = 0; i < 2 * products; i += 2) {
    bool const adds = alpha != 0 && before[i + 1].any().item<bool>();
    at::Tensor const a = now[i], b = alpha == 0 ? now[i + 1] : now[i + 1] * (1 + alpha);
    before[i] = adds ? at::cat({a, before[i]}, 0) : a.clone();
    before[i + 1] = adds ? at::cat({b, before[i + 1] * -alpha}, 1) : b.clone();
  }
  for (std::size_t i = 2 * products; i < now.size(); ++i)
    before[i] = alpha == 0 ? now[i].clone() : at::add(now[i] * (1 + alpha), before[i], -alpha);
}

void bound_rank(pack& adapter, std::size_t products) {
  at::NoGradGuard const no_grad;
  for (std::size_t i = 0; i < 2 * products; i += 2) {
    at::Tensor &a = adapter[i], &b = adapter[i + 1];
    std::int64_t const in = a.size(1), out = b.size(0), most = std::min(in, out);
    if (a.size(0) <= most) continue;
    at::Tensor const product = at::mm(b, a), unit = at::eye(most, a.options());
    a = out <= in ? product : unit;
    b = out <= in ? unit : product;
  }
}

namespace {

// Copies of the base that PEFT writes beside adapters of the embedding and the head.
bool is_copy_of_base(std::string const& name) { return name.ends_with(".base_layer.weight") && name.find(".experts.") == std::string::npos; }

// The file's tensor of a parameter: PEFT has had more than one name for a magnitude.
std::vector<safetensors_entry>::const_iterator find_tensor(safetensors_file const& file, std::string const& name) {
  return std::find_if(file.tensors().begin(), file.tensors().end(), [&](auto const& t) { return t.name == name || t.name == name + ".weight"; });
}

}  // namespace

pack read_adapter(peft_adapter const& adapter, causal_lm const& model) {
  safetensors_file const source(adapter.folder() / "adapter_model.safetensors");
  std::vector<parameter> const wanted = model.parameters();
  std::set<std::string> taken;
  pack factors;
  for (parameter const& p : wanted) {
    auto const found = find_tensor(source, p.name);
    at::Tensor const t = at::empty(p.shape, at::kFloat);
    std::int64_t elements = found == source.tensors().end() ? -1 : 1;
    if (found != source.tensors().end())
      for (std::int64_t const extent : found->shape) elements *= extent;
    bool const fits = elements == t.numel() && (found->shape.size() == 1 || found->shape == p.shape) && found->type && is_floating(*found->type);
    if (!fits) throw error(source.path().string() + ": tensor " + p.name + " is missing or of another shape; the adapter belongs to another model");
    convert(*found->type, found->bytes, dtype::f32, bytes_of(t));
    taken.insert(found->name);
    factors.push_back(t);
  }
  for (safetensors_entry const& t : source.tensors())
    if (!taken.contains(t.name) && !is_copy_of_base(t.name))
      throw error(source.path().string() + ": tensor " + t.name + " is none of what adapter_config.json says is trained; merge the adapter into its base (kedge merge), and train on the result");
  return factors;
}

void write_adapter(fs::path const& folder, checkpoint const& source, causal_lm const& model, pack const& adapter, dtype type) {
  std::vector<parameter> const names = model.parameters();
  std::vector<tensor_plan> plan;
  for (std::size_t i = 0; i < names.size(); ++i) {
    bool const is_magnitude = names[i].name.ends_with("lora_magnitude_vector");
    plan.push_back({names[i].name, type, is_magnitude ? std::vector{adapter[i].numel()} : adapter[i].sizes().vec()});
  }
  at::Tensor converted;
  write_safetensors(folder / "adapter_model.safetensors", plan,
                    [&](std::size_t i) {
                      converted = adapter[i].to(at::kCPU, scalar_type_of(type)).contiguous();
                      return std::span<std::byte const>(bytes_of(converted));
                    },
                    {{"format", "pt"}});
  write_tokenizer(folder, source);
  write_file_atomically(folder / "adapter_config.json", config_of(model, source, adapter).dump(2) + "\n");
}

namespace {

// config.json with what the adapter makes other than in its base.
void change_config(peft_adapter const& adapter, checkpoint& source) {
  bool const reward = adapter.task() == peft_task::sequence_score;
  if (reward) source.config = reward_config(source.config, source.path().string());
  if (reward) source.generation_config = nullptr;
  json& text = wraps_text_model(source.config) ? source.config["text_config"] : source.config;
  if (auto const rows = adapter.vocabulary()) text["vocab_size"] = *rows;
  // A bias where the base has none: all maps of that part get one, zero where the adapter has nothing for it.
  std::set<std::string> there;
  for (parameter const& p : parameters_of(read_config(source.config, source.path().string()))) there.insert(p.name);
  for (std::string const& bias : adapter.biases())
    if (!there.contains(bias) && bias != "lm_head.bias") text[bias.find(".self_attn.") != std::string::npos ? "attention_bias" : "mlp_bias"] = true;
  if (!reward && adapter.unties_head()) source.config["tie_word_embeddings"] = text["tie_word_embeddings"] = false;
}

}  // namespace

checkpoint open_base(peft_adapter const& adapter, fs::path const& base) {
  fs::path const place = base.empty() ? base_of_adapter(adapter.folder()).value() : base;
  checkpoint source = checkpoint::open(place);
  if (!fs::equivalent(place, adapter.folder())) source.take_text_of(adapter.folder());
  change_config(adapter, source);
  return source;
}

namespace {

// All of the base's parameters, each changed by `change` before its shape is compared.
template <class Change>
pack load_changed(checkpoint const& source, transformer_config const& config, std::string const& with, Change const& change) {
  pack theta;
  for (parameter const& p : parameters_of(config)) {
    std::string const base = base_tensor(source, p.name);
    std::vector<std::int64_t> shape;
    std::vector<float> numbers;
    if (!base.empty()) {
      shape = source.entry(base).shape;
      numbers.resize(source.entry(base).elements());
      source.read(base, dtype::f32, std::as_writable_bytes(std::span(numbers)));
    } else if (p.name.ends_with(".bias")) {
      shape = p.shape;
      numbers.assign(static_cast<std::size_t>(p.shape.front()), 0.0F);
    }
    change(p.name, shape, numbers);
    if (shape != p.shape)
      throw error(source.path().string() + ": tensor " + p.name + (shape.empty() ? " is missing" : " has another shape than the config says") + with);
    theta.push_back(at::from_blob(numbers.data(), p.shape, at::kFloat).clone());
  }
  return theta;
}

}  // namespace

pack load_merged(checkpoint const& source, transformer_config const& config, peft_adapter const& adapter) {
  std::vector<std::string> names;
  for (parameter const& p : parameters_of(config)) names.push_back(p.name);
  adapter.require_all_taken(names);
  return load_changed(source, config, ", with the adapter " + adapter.folder().string(), [&](std::string const& name, auto& shape, auto& numbers) { adapter.merge(name, shape, numbers); });
}

checkpoint open_model(fs::path const& path) { return is_adapter(path) ? open_base(peft_adapter(path)) : checkpoint::open(path); }

pack load_model(fs::path const& path, checkpoint const& source, transformer_config const& config) {
  return is_adapter(path) ? load_merged(source, config, peft_adapter(path)) : load_parameters(source, config);
}

pack load_base(checkpoint const& source, transformer_config const& config) {
  transformer_config body = config;
  body.scalar_head = false;
  return load_changed(source, body, "; an adapter that brings an embedding of another size is merged first (kedge merge)", [](std::string const&, auto const&, auto const&) {});
}

}  // namespace kedge::llm
