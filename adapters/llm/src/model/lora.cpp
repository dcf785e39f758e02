// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/lora.hpp>

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <set>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/weights.hpp>

#include "model_tensors.hpp"
#include "tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

json read_json(fs::path const& file) {
  std::ifstream in(file);
  if (!in) throw error(file.string() + ": there is no such file; give a folder that PEFT wrote");
  json const all = json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) throw error(file.string() + ": not a JSON object; fetch the adapter again");
  return all;
}

// What PEFT calls a model's task.
enum class task { language_model, sequence_score };

constexpr auto names(task) { return std::array<named<task>, 2>{{{task::language_model, "CAUSAL_LM"}, {task::sequence_score, "SEQ_CLS"}}}; }

bool is_reward(json const& config) {
  json const type = config.value("task_type", json());
  return type.is_string() && from_name<task>(type.get<std::string>()) == task::sequence_score;
}

std::vector<lora_target> targets_of(json const& given, std::string const& where) {
  std::vector<lora_target> targets;
  for (auto const& name : given.is_string() ? std::vector{given.get<std::string>()} : given.get<std::vector<std::string>>()) {
    auto const target = from_name<lora_target>(name);
    if (!target) throw error(where + ": target_modules: " + name + " is not supported; supported: " + all_names<lora_target>());
    targets.push_back(*target);
  }
  return targets;
}

json modules_saved_whole(json const& config) {
  json const names = config.value("modules_to_save", json());
  return names.is_null() ? json::array() : names;
}

// Settings that would change what the adapter computes; what they have to be, where they are given.
void refuse_other_kinds(json const& config, std::string const& where) {
  json const usual{{"peft_type", "LORA"},
                   {"bias", "none"},
                   {"use_dora", false},
                   {"use_qalora", false},
                   {"lora_bias", false},
                   {"fan_in_fan_out", false}};
  for (json const& name : modules_saved_whole(config))
    if (!is_reward(config) || (name != "score" && name != "classifier"))
      throw error(where + ": modules_to_save: " + name.dump() + " is not supported; kedge reads plain LoRA of linear maps, and the score of a reward model");
  // These must be absent, null or empty.
  for (char const* key : {"alpha_pattern", "rank_pattern", "trainable_token_indices", "target_parameters", "layer_replication",
                          "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config"})
    if (config.contains(key) && !config[key].empty())
      throw error(where + ": " + key + " is not supported; kedge reads plain LoRA of linear maps");
  // PiSSA, OLoRA and LoftQ change the base as well.
  if (json const init = config.value("init_lora_weights", json(true)); init.is_string() && init != "gaussian" && init != "orthogonal" && init != "eva")
    throw error(where + ": init_lora_weights = " + init.dump() + " is not supported; convert the adapter to a plain one with PEFT");
  for (auto const& [key, value] : usual.items())
    if (config.contains(key) && !config[key].is_null() && config[key] != value)
      throw error(where + ": " + key + " = " + config[key].dump() + " is not supported; kedge reads plain LoRA of linear maps");
}

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
          {"task_type", name_of(reward ? task::sequence_score : task::language_model)},
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

bool is_adapter(fs::path const& folder) { return fs::exists(folder / "adapter_config.json"); }

adapter_files read_adapter_config(fs::path const& folder) {
  std::string const where = (folder / "adapter_config.json").string();
  json const config = read_json(where);
  try {
    refuse_other_kinds(config, where);
    adapter_files files{.base = config.at("base_model_name_or_path").get<std::string>(), .settings = {}, .folder = folder};
    files.settings.rank = config.at("r").get<std::int64_t>();
    files.settings.alpha = config.at("lora_alpha").get<double>();
    files.settings.rslora = config.value("use_rslora", false);
    if (fs::exists(folder / "config.json")) files.base = folder;  // the model beside it
    files.reward = is_reward(config);
    files.settings.target_modules = targets_of(config.at("target_modules"), where);
    return files;
  } catch (json::exception const& e) {
    throw error(where + ": a key is missing or of the wrong kind (" + e.what() + ")");
  }
}

pack read_adapter(adapter_files const& files, causal_lm const& model) {
  fs::path const file = files.folder / "adapter_model.safetensors";
  if (!fs::exists(file)) throw error(file.string() + ": there is no such file; kedge reads adapters from safetensors only");
  safetensors_file const source(file);
  std::vector<parameter> const wanted = model.parameters();
  if (source.tensors().size() != wanted.size())
    throw error(file.string() + " has " + std::to_string(source.tensors().size()) + " tensors, an adapter of these modules on all layers has " +
                std::to_string(wanted.size()) + "; adapters of some layers or of other modules are not supported");
  pack adapter;
  for (parameter const& p : wanted) {
    auto const found = std::find_if(source.tensors().begin(), source.tensors().end(), [&](auto const& t) { return t.name == p.name; });
    if (found == source.tensors().end() || found->shape != p.shape || !found->type || !is_floating(*found->type))
      throw error(file.string() + ": tensor " + p.name + " is missing or of another shape; the adapter belongs to another model");
    at::Tensor& t = adapter.emplace_back(at::empty(p.shape, at::kFloat));
    convert(*found->type, found->bytes, dtype::f32, bytes_of(t));
  }
  return adapter;
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

checkpoint open_base(adapter_files const& files, fs::path const& base) {
  for (fs::path const& place : {base.empty() ? files.base : base, files.folder / files.base}) {
    if (base.empty() && !fs::exists(place)) continue;
    checkpoint source = checkpoint::open(place);
    if (!fs::equivalent(place, files.folder)) source.take_text_of(files.folder);
    if (files.reward) source.config = reward_config(source.config, place.string());
    if (files.reward) source.generation_config = nullptr;
    return source;
  }
  throw error(files.folder.string() + ": its base " + in_quotes(files.base.string()) +
              " is not there; kedge merge takes it as --base_model, or change base_model_name_or_path in adapter_config.json");
}

pack load_merged(checkpoint const& source, transformer_config const& config, adapter_files const& files) {
  transformer_config body = config;
  body.scalar_head = false;
  pack theta = load_parameters(source, body);
  causal_lm const model(config, {}, files.settings, theta);
  pack const adapter = read_adapter(files, model);
  merge_adapter(model, theta, adapter);
  if (config.scalar_head) theta.push_back(adapter.back());
  return theta;
}

}  // namespace kedge::llm
