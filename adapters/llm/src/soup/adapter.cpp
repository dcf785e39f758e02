// SPDX-License-Identifier: Apache-2.0
#include "adapter.hpp"

#include <algorithm>  // min
#include <cmath>      // sqrt

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/soup/vocabulary.hpp>

#include "numbers.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;

constexpr std::string_view config_file = "adapter_config.json", weights_file = "adapter_model.safetensors";

bool is_file(path const& file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(file, ignored);
}

json const& member(json const& config, char const* key) {
  static json const nothing;
  auto const found = config.find(key);
  return found == config.end() ? nothing : *found;
}

/// Keys that change what an adapter computes have to be absent, null, empty, false or the usual word.
void refuse_other_kinds(json const& config, std::string const& where) {
  static constexpr std::pair<char const*, char const*> words[] = {{"peft_type", "LORA"}, {"bias", "none"}};
  static constexpr char const* off[] = {"use_dora",
                                        "use_qalora",
                                        "lora_bias",
                                        "fan_in_fan_out",
                                        "modules_to_save",
                                        "alpha_pattern",
                                        "trainable_token_indices",
                                        "target_parameters",
                                        "layer_replication",
                                        "alora_invocation_tokens",
                                        "use_bdlora",
                                        "arrow_config",
                                        "kasa_config",
                                        "monteclora_config",
                                        "velora_config"};
  auto const refuse = [&](char const* key) {
    throw error(where + ": " + key + " = " + member(config, key).dump() +
                " is not supported in a soup; it takes plain LoRA of linear maps. Merge the adapter with PEFT first");
  };
  for (auto const& [key, word] : words)
    if (json const& value = member(config, key); !value.is_null() && value != word) refuse(key);
  for (char const* const key : off)
    if (json const& value = member(config, key);
        !value.is_null() && value != false && !(value.is_structured() && value.empty()))
      refuse(key);
  // PiSSA, OLoRA and LoftQ change the base as well.
  if (json const& init = member(config, "init_lora_weights");
      init.is_string() && init != "gaussian" && init != "orthogonal" && init != "eva")
    refuse("init_lora_weights");
}

std::string shape_text(safetensors_entry const& tensor) { return json(tensor.shape).dump(); }

std::vector<float> numbers_of(safetensors_entry const& tensor) {
  std::vector<float> out(tensor.bytes.size() / size_of(*tensor.type));
  widen(*tensor.type, tensor.bytes, out);
  if (!all_finite(out)) throw error("the adapter's tensor " + in_quotes(tensor.name) + " holds NaN or infinity");
  return out;
}

/// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" taken apart: the weight that it changes, and which factor it is.
struct factor_name {
  std::string weight;
  bool is_a = true;
};

std::optional<factor_name> take_apart(std::string_view name) {
  constexpr std::string_view front = "base_model.model.";
  while (name.starts_with(front)) name.remove_prefix(front.size());
  for (std::string_view const end : {".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight"})
    if (name.ends_with(end))
      return factor_name{std::string(name.substr(0, name.size() - end.size())) + ".weight", end[6] == 'A'};
  return std::nullopt;
}

}  // namespace

low_rank_update::low_rank_update(low_rank_entry const& from)
    : rank_(static_cast<std::size_t>(from.a.shape[0])),
      in_(static_cast<std::size_t>(from.a.shape[1])),
      a_(numbers_of(from.a)),
      b_(numbers_of(from.b)) {
  for (float& b : b_) b *= static_cast<float>(from.scale);
}

void low_rank_update::add(std::size_t begin, std::span<float> out) const {
  for (std::size_t done = 0, count = 0; done < out.size(); done += count) {
    std::size_t const row = (begin + done) / in_, column = (begin + done) % in_;
    count = std::min(in_ - column, out.size() - done);
    for (std::size_t k = 0; k < rank_; ++k)
      add_scaled(b_[row * rank_ + k], std::span{a_}.subspan(k * in_ + column, count), out.subspan(done, count));
  }
}

lora_adapter::lora_adapter(path const& folder, checkpoint const& base) : file_(folder / weights_file) {
  std::string const where = in_quotes((folder / config_file).string()), weights = in_quotes(file_.path().string());
  json const config = read_json_file(folder / config_file);
  if (!config.is_object()) throw error(where + " is not a JSON object; fetch the adapter again");
  refuse_other_kinds(config, where);
  json const &r = member(config, "r"), &alpha = member(config, "lora_alpha"), &stabilised = member(config, "use_rslora");
  if (!r.is_number() || !alpha.is_number()) throw error(where + ": r and lora_alpha have to be numbers");
  for (auto const& tensor : file_.tensors()) {
    auto const factor = take_apart(tensor.name);
    if (!factor || !tensor.type || !is_floating(*tensor.type) || tensor.shape.size() != 2)
      throw error(weights + ": tensor " + in_quotes(tensor.name) +
                  " is no factor of a linear map; a soup takes plain LoRA. Merge the adapter with PEFT first");
    low_rank_entry& change = changes_[factor->weight];
    (factor->is_a ? change.a : change.b) = tensor;
  }
  for (auto& [weight, change] : changes_) {
    if (!base.contains(weight))
      throw error(weights + " changes " + in_quotes(weight) + ", which " + in_quotes(base.path().string()) +
                  " doesn't have; the adapter belongs to another model");
    auto const& shape = base.entry(weight).shape;
    bool const whole = change.a.shape.size() == 2 && change.b.shape.size() == 2;
    if (!whole || shape.size() != 2 || change.a.shape[1] != shape[1] || change.b.shape[0] != shape[0] ||
        change.a.shape[0] != change.b.shape[1] || change.a.shape[0] < 1)
      throw error(weights + ": the factors of " + in_quotes(weight) + " are " + shape_text(change.a) + " and " +
                  shape_text(change.b) + ", the weight is " + json(shape).dump() +
                  "; the adapter is damaged or belongs to another model");
    auto const rank = static_cast<double>(change.a.shape[0]);  // rank_pattern may make it another than r
    change.scale = alpha.get<double>() / (stabilised == true ? std::sqrt(rank) : rank);
  }
  if (changes_.empty()) throw error(weights + " holds no tensors; fetch the adapter again");
}

low_rank_entry const* lora_adapter::of(std::string_view weight) const {
  auto const found = changes_.find(weight);
  return found == changes_.end() ? nullptr : &found->second;
}

bool is_adapter_folder(path const& folder) { return is_file(folder / config_file) && !is_file(folder / "config.json"); }

namespace {

[[noreturn]] void refuse_missing(path const& model) {
  throw error("no model at " + in_quotes(model.string()) +
              ": models are not fetched; pass a Hugging Face folder, a .gguf file, or an adapter's folder");
}

/// The base that an adapter names, from here or from its folder.
model_reference with_own_base(path const& adapter) {
  json const config = read_json_file(adapter / config_file);
  json const& named = member(config, "base_model_name_or_path");
  std::string const way_out = "; write BASE+" + adapter.string();
  if (!named.is_string()) throw error(in_quotes((adapter / config_file).string()) + " names no base" + way_out);
  path const base = named.get<std::string>();
  std::error_code ignored;
  for (path const& place : {base, adapter / base})
    if (std::filesystem::exists(place, ignored)) return {place, adapter};
  throw error(in_quotes(adapter.string()) + ": its base " + in_quotes(base.string()) + " is not there" + way_out +
              ", or change base_model_name_or_path in adapter_config.json");
}

}  // namespace

model_reference with_adapter(path const& model, path const& adapter) {
  std::error_code ignored;
  for (path const& part : {model, adapter})
    if (!std::filesystem::exists(part, ignored)) refuse_missing(part);
  if (!is_file(adapter / config_file))
    throw error(in_quotes(adapter.string()) + " holds no adapter_config.json; what follows '+' is a LoRA adapter's folder");
  return {model, adapter};
}

model_reference find_model(std::string const& text) {
  std::error_code ignored;
  if (std::filesystem::exists(text, ignored)) return is_adapter_folder(text) ? with_own_base(text) : model_reference(text);
  std::size_t const plus = text.find('+');
  if (plus == std::string::npos) refuse_missing(text);
  return with_adapter(text.substr(0, plus), text.substr(plus + 1));
}

}  // namespace kedge::llm
