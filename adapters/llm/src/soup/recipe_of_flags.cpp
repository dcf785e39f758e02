// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // any_of
#include <array>      // array
#include <cmath>      // abs, floor, isfinite

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/soup/recipe.hpp>

#include "../base/yaml_value.hpp"

namespace kedge::llm {
namespace {

std::optional<double> number_of(std::string_view text) {
  auto const out = number_in(text);
  return out && std::isfinite(*out) ? out : std::nullopt;
}

double value_of(std::string_view text, parameter_info const& info) {
  std::string const flag = "--" + std::string{info.name} + " " + std::string{text};
  if (info.type == parameter_info::kind::boolean) {
    if (text == "true" || text == "1") return 1;
    if (text == "false" || text == "0") return 0;
    throw error(flag + " should be true or false");
  }
  auto const out = number_of(text);
  if (!out) throw error(flag + " should be a number, or numbers with commas between them");
  if (info.type == parameter_info::kind::integer && *out != std::floor(*out)) throw error(flag + " should be a whole number");
  return *out;
}

parameter_rule rule_of(std::string_view text, parameter_info const& info) {
  parameter_rule out;
  for (;;) {
    auto const comma = text.find(',');
    out.values.push_back(value_of(text.substr(0, comma), info));
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

/// Gives the models their weights; `sum` is that of the given ones.
void add_models(soup_recipe& recipe, std::vector<std::string> const& models, std::optional<double>& sum) {
  soup_slice& slice = recipe.slices.emplace_back();
  bool const takes_weights = recipe.method == soup_method::slerp || find_parameter("weight", recipe.method)->is_read_by(recipe.method);
  for (auto const& text : models) {
    auto const [named, weight] = parse_weighted_model(text);
    if (weight && !takes_weights)
      throw error(std::string{name_of(recipe.method)} + " takes no weights, but " + in_quotes(text) + " has one; leave it out");
    if (slice.sources.size() > 0 && weight.has_value() != sum.has_value())
      throw error("some models have a weight and " + in_quotes(weight ? slice.sources.front().model.text() : text) +
                  " has none; give one to each, or to none");
    if (weight) sum = sum.value_or(0) + *weight;
    soup_source& source = slice.sources.emplace_back(soup_source{find_model(named.string()), std::nullopt, {}});
    if (takes_weights) source.parameters["weight"] = {{"", {weight.value_or(1)}}};
  }
}

void settle_linear(soup_recipe& recipe, std::optional<double> sum, bool allow_unnormalized) {
  constexpr double rounding = 1e-6;
  if (recipe.parameters.contains("normalize")) return;
  bool const off = sum && std::abs(*sum - 1) > rounding;
  if (off && !allow_unnormalized)
    throw error("the weights sum to " + std::to_string(*sum) +
                ", not to one; correct them, or pass --normalize true to divide by their sum, or --allow_unnormalized to take them as they are");
  recipe.parameters["normalize"] = {{"", {off ? 0.0 : 1.0}}};
}

/// slerp's t is shared: it comes from the weights of the two models where it is not given.
void settle_slerp(soup_recipe& recipe) {
  auto& sources = recipe.slices.front().sources;
  if (!recipe.base_model && !sources.empty()) recipe.base_model = sources.front().model;
  if (recipe.parameters.contains("t") || sources.size() != 2) return;
  std::size_t const base = sources[1].model == *recipe.base_model ? 1 : 0;
  auto const weight = [&](std::size_t i) { return evaluate(sources[i].parameters, "weight", "", 0).value_or(1); };
  double const sum = weight(0) + weight(1);
  if (sum == 0) throw error("the weights sum to zero, so that they say no place between the models; pass --t");
  recipe.parameters["t"] = {{"", {weight(1 - base) / sum}}};
}

}  // namespace

soup_recipe make_recipe(soup_method method, std::vector<std::string> const& models, std::string const& base_model,
                        std::string_view number_format, std::map<std::string, std::string> const& parameters, bool allow_unnormalized) {
  soup_recipe out;
  out.method = method;
  if (!base_model.empty()) out.base_model = find_model(base_model);
  if (!number_format.empty()) {
    auto const type = find_dtype(number_format);
    if (!type || !is_floating(*type)) throw error("--dtype " + std::string{number_format} + " is not supported; take float32, bfloat16, float16 or float64");
    out.output_dtype = type;
  }
  for (auto const& [name, text] : parameters) {
    parameter_info const* const found = find_parameter(name, method);
    if (found == nullptr) throw error("there is no parameter " + in_quotes(name));
    parameter_info const& info = *found;
    if (!info.is_read_by(method)) throw error("--" + name + " has no effect on " + std::string{name_of(method)} + "; leave it out");
    out.parameters[name] = {rule_of(text, info)};
  }
  std::optional<double> sum;
  add_models(out, models, sum);
  if (method == soup_method::linear) settle_linear(out, sum, allow_unnormalized);
  if (method == soup_method::slerp) settle_slerp(out);
  auto& sources = out.slices.front().sources;
  bool const listed = std::any_of(sources.begin(), sources.end(), [&](auto const& s) { return s.model == out.base_model; });
  if (out.base_model && !listed) sources.push_back({*out.base_model, std::nullopt, {}});
  return out;
}

std::size_t parse_size(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 10> units{{
      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
  }};
  for (auto const& [unit, bytes] : units) {
    if (!text.ends_with(unit)) continue;
    auto const number = number_of(text.substr(0, text.size() - unit.size()));
    if (number && *number * bytes >= 1 && *number * bytes < 1e18) return static_cast<std::size_t>(*number * bytes);
    break;
  }
  throw error("a size of " + in_quotes(text) + " is not understood; write 5GB, 500MB or a number of bytes");
}

}  // namespace kedge::llm
