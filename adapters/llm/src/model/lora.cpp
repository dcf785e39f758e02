// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/lora.hpp>

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/weights.hpp>

#include "model_tensors.hpp"
#include "stored_tensors.hpp"
#include "tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

json config_of(causal_lm const& model, checkpoint const& source, std::int64_t rank) {
  lora_settings const& s = model.adapted()->layout.settings();
  // An adapter of a higher rank than asked for, made by extrapolation, keeps its scale.
  double const grown = static_cast<double>(rank) / static_cast<double>(s.rank);
  double const alpha = s.alpha * (s.rslora ? std::sqrt(grown) : grown);
  bool const reward = model.config().scalar_head;
  bool const whole = alpha == std::floor(alpha);
  return {{"base_model_name_or_path", fs::absolute(source.path()).lexically_normal().string()},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"lora_alpha", whole ? json(static_cast<std::int64_t>(alpha)) : json(alpha)},
          {"lora_dropout", 0.0},
          {"modules_to_save", reward ? json{"classifier", "score"} : json(nullptr)},
          {"peft_type", "LORA"},
          {"r", rank},
          {"target_modules", names_of(s.target_modules)},
          {"task_type", name_of(reward ? peft_task::sequence_score : peft_task::language_model)},
          {"use_dora", false},
          {"use_rslora", s.rslora}};
}

}  // namespace

pack initial_adapter(causal_lm const& model, std::uint64_t seed) {
  at::Generator random = at::detail::createCPUGenerator(seed);
  pack adapter;
  std::vector<parameter> const all = model.parameters();
  for (std::size_t i = 0; i + 1 < all.size(); i += 2) {  // a scalar head would be last
    double const bound = 1 / std::sqrt(static_cast<double>(all[i].shape[1]));
    adapter.push_back(at::empty(all[i].shape).uniform_(-bound, bound, random));
    adapter.push_back(at::zeros(all[i + 1].shape));
  }
  return adapter;
}

void merge_adapter(causal_lm const& model, pack& theta, pack const& adapter) {
  at::NoGradGuard const no_grad;
  transformer_config const& c = model.config();
  adapter_layout const& layout = model.adapted()->layout;
  slots const at(c);
  for (std::int64_t i = 0; i < c.layers; ++i)
    for (layer_slot const slot : layout.targets()) {
      std::size_t const a = *layout.of(i, slot);
      theta[at.of(i, slot)].add_(at::mm(adapter[a + 1], adapter[a]), layout.scale());
    }
}

void extrapolate_product(pack const& now, double alpha, pack& before) {
  at::NoGradGuard const no_grad;
  for (std::size_t i = 0; i < now.size(); i += 2) {
    bool const adds = alpha != 0 && before[i + 1].any().item<bool>();
    at::Tensor const a = now[i], b = alpha == 0 ? now[i + 1] : now[i + 1] * (1 + alpha);
    before[i] = adds ? at::cat({a, before[i]}, 0) : a.clone();
    before[i + 1] = adds ? at::cat({b, before[i + 1] * -alpha}, 1) : b.clone();
  }
}

void bound_rank(pack& adapter) {
  at::NoGradGuard const no_grad;
  for (std::size_t i = 0; i + 1 < adapter.size(); i += 2) {
    at::Tensor &a = adapter[i], &b = adapter[i + 1];
    std::int64_t const in = a.size(1), out = b.size(0), most = std::min(in, out);
    if (a.size(0) <= most) continue;
    at::Tensor const product = at::mm(b, a), unit = at::eye(most, a.options());
    a = out <= in ? product : unit;
    b = out <= in ? unit : product;
  }
}

lora_settings plain_settings(peft_adapter const& adapter) {
  json const& config = adapter.config();
  std::string const where = (adapter.folder() / "adapter_config.json").string();
  try {
    for (char const* const key : {"rank_pattern", "alpha_pattern", "use_dora", "lora_bias", "trainable_token_indices"})
      if (json const value = config.value(key, json()); !value.is_null() && value != false && !value.empty())
        throw error(where + ": " + key + ": the adapter isn't the same everywhere; merge it into its base (kedge merge)");
    lora_settings settings;
    settings.rank = config.at("r").get<std::int64_t>();
    settings.alpha = config.at("lora_alpha").get<double>();
    settings.rslora = config.value("use_rslora", false);
    json const targets = config.at("target_modules");
    for (auto const& name : targets.is_string() ? std::vector{targets.get<std::string>()} : targets.get<std::vector<std::string>>()) {
      auto const target = from_name<lora_target>(name);
      if (!target) throw error(where + ": target_modules: " + name + " is none of " + all_names<lora_target>() + "; merge the adapter into its base (kedge merge)");
      settings.target_modules.push_back(*target);
    }
    return settings;
  } catch (json::exception const& e) {
    throw error(where + ": a key is missing or of the wrong kind (" + reason_of(e) + ")");
  }
}

pack read_adapter(peft_adapter const& adapter, causal_lm const& model) {
  safetensors_file const source(adapter.folder() / "adapter_model.safetensors");
  std::vector<parameter> const wanted = model.parameters();
  if (source.tensors().size() != wanted.size())
    throw error(source.path().string() + " has " + std::to_string(source.tensors().size()) + " tensors, an adapter of these modules on all layers has " +
                std::to_string(wanted.size()));
  pack factors;
  for (parameter const& p : wanted) {
    auto const found = std::find_if(source.tensors().begin(), source.tensors().end(), [&](auto const& t) { return t.name == p.name; });
    if (found == source.tensors().end() || found->shape != p.shape || !found->type || !is_floating(*found->type))
      throw error(source.path().string() + ": tensor " + p.name + " is missing or of another shape; the adapter belongs to another model");
    at::Tensor& t = factors.emplace_back(at::empty(p.shape, at::kFloat));
    convert(*found->type, found->bytes, dtype::f32, bytes_of(t));
  }
  return factors;
}

void write_adapter(fs::path const& folder, checkpoint const& source, causal_lm const& model, pack const& adapter, dtype type) {
  std::vector<parameter> const names = model.parameters();
  std::vector<tensor_plan> plan;
  for (std::size_t i = 0; i < names.size(); ++i) plan.push_back({names[i].name, type, adapter[i].sizes().vec()});
  at::Tensor converted;
  write_safetensors(folder / "adapter_model.safetensors", plan,
                    [&](std::size_t i) {
                      converted = adapter[i].to(at::kCPU, scalar_type_of(type)).contiguous();
                      return std::span<std::byte const>(bytes_of(converted));
                    },
                    {{"format", "pt"}});
  write_tokenizer(folder, source);
  write_file_atomically(folder / "adapter_config.json", config_of(model, source, adapter.front().size(0)).dump(2) + "\n");
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
    if (!there.contains(bias)) text[bias.find(".self_attn.") != std::string::npos ? "attention_bias" : "mlp_bias"] = true;
  if (!reward && adapter.unties_head()) source.config["tie_word_embeddings"] = text["tie_word_embeddings"] = false;
}

// The base's tensor for a parameter; a head that was tied begins as the embedding. Empty where there is neither.
std::string base_tensor(checkpoint const& source, std::string const& name) {
  std::string const own = stored_name(source, name);
  if (source.contains(own)) return own;
  std::string const embedding = stored_name(source, "model.embed_tokens.weight");
  return name == "lm_head.weight" && source.contains(embedding) ? embedding : std::string();
}

}  // namespace

checkpoint open_base(peft_adapter const& adapter, fs::path const& base) {
  fs::path const place = base.empty() ? base_of_adapter(adapter.folder()).value() : base;
  checkpoint source = checkpoint::open(place);
  if (!fs::equivalent(place, adapter.folder())) source.take_text_of(adapter.folder());
  change_config(adapter, source);
  return source;
}

pack load_merged(checkpoint const& source, transformer_config const& config, peft_adapter const& adapter) {
  std::vector<std::string> names;
  for (parameter const& p : parameters_of(config)) names.push_back(p.name);
  adapter.require_all_taken(names);
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
    adapter.merge(p.name, shape, numbers);
    if (shape != p.shape)
      throw error(source.path().string() + ": tensor " + p.name + (shape.empty() ? " is missing, there and in the adapter" : " has another shape than the config says, with the adapter " + adapter.folder().string()));
    theta.push_back(at::from_blob(numbers.data(), p.shape, at::kFloat).clone());
  }
  return theta;
}

}  // namespace kedge::llm
