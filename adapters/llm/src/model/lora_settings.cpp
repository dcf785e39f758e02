// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/model/lora_settings.hpp>

#include <algorithm>
#include <cmath>
#include <regex>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

// A list of names; a text is a list of one.
std::vector<std::string> names_in(json const& config, char const* key) {
  json const value = config.value(key, json());
  if (value.is_null()) return {};
  return value.is_string() ? std::vector{value.get<std::string>()} : value.get<std::vector<std::string>>();
}

std::vector<std::int64_t> layers_in(json const& config) {
  json const value = config.value("layers_to_transform", json());
  if (value.is_null()) return {};
  return value.is_number() ? std::vector{value.get<std::int64_t>()} : value.get<std::vector<std::int64_t>>();
}

// What is read and merged, and has no place in a training run.
void refuse_untrained(json const& config, std::string const& where) {
  auto const refuse = [&](std::string const& what) { throw error(where + ": " + what + "; merge the adapter into its base (kedge merge), and train on the result"); };
  if (json const tokens = config.value("trainable_token_indices", json()); !tokens.is_null() && !tokens.empty())
    refuse("trainable_token_indices: single tokens are not trained");
  json const pattern = config.value("layers_pattern", json());
  if (!pattern.is_null() && !pattern.empty() && pattern != "layers" && pattern != json::array({"layers"}))
    refuse("layers_pattern = " + pattern.dump() + ": the layers of a model that kedge trains are called layers");
  if (json const dropout = config.value("lora_dropout", json(0)); !dropout.is_number()) refuse("lora_dropout is not a number");
}

}  // namespace

std::optional<double> module_numbers::of(std::string const& module) const {
  for (auto const& [pattern, number] : rows) try {
      if (std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"))) return number;
    } catch (std::regex_error const&) {
      throw error(in_quotes(pattern) + " is no regular expression of a module's name");
    }
  return std::nullopt;
}

module_numbers read_module_numbers(json const& object, std::string const& where) {
  if (!object.is_object()) throw error(where + ": not a JSON object; write '{\"layers.0.self_attn.q_proj\": 4}'");
  module_numbers numbers;
  for (auto const& [pattern, value] : object.items()) {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
      throw error(where + ": " + pattern + " must be a number above 0, not " + value.dump());
    numbers.rows.emplace_back(pattern, value.get<double>());
  }
  static_cast<void>(numbers.of(""));  // every expression is one
  return numbers;
}

module_numbers read_module_numbers(std::string const& text) {
  if (text.empty() || text == "none") return {};
  return read_module_numbers(json::parse(text, nullptr, /*allow_exceptions=*/false), text);
}

json as_json(module_numbers const& numbers) {
  json object = json::object();
  for (auto const& [pattern, number] : numbers.rows)
    object[pattern] = number == std::floor(number) ? json(static_cast<std::int64_t>(number)) : json(number);
  return object;
}

lora_settings settings_of(peft_adapter const& adapter) {
  json const& config = adapter.config();
  std::string const where = (adapter.folder() / "adapter_config.json").string();
  refuse_untrained(config, where);
  auto const pattern = [&](char const* key) {
    json const value = config.value(key, json());
    return value.is_null() ? module_numbers() : read_module_numbers(value, where + ": " + key);
  };
  try {
    lora_settings s;
    s.rank = config.at("r").get<std::int64_t>();
    s.alpha = config.at("lora_alpha").get<double>();
    s.target_modules = names_in(config, "target_modules");
    s.rslora = config.value("use_rslora", json(false)) == true;
    s.dora = config.value("use_dora", json(false)) == true;
    s.modules_to_save = names_in(config, "modules_to_save");
    s.exclude_modules = names_in(config, "exclude_modules");
    s.layers_to_transform = layers_in(config);
    s.rank_pattern = pattern("rank_pattern");
    s.alpha_pattern = pattern("alpha_pattern");
    s.bias_of_b = config.value("lora_bias", json(false)) == true;
    s.biases = from_name<trained_biases>(config.value("bias", "none")).value_or(trained_biases::none);
    s.target_parameters = names_in(config, "target_parameters");
    return s;
  } catch (json::exception const& e) {
    throw error(where + ": a key is missing or of the wrong kind (" + reason_of(e) + ")");
  }
}

}  // namespace kedge::llm
