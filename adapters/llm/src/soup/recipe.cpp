// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // clamp, min
#include <array>      // array
#include <cmath>      // isfinite
#include <charconv>   // from_chars

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/soup/recipe.hpp>

namespace kedge::llm {
namespace {

using enum soup_method;

std::vector<parameter_info> make_table() {
  using kind = parameter_info::kind;
  using scope = parameter_info::scope;
  std::vector<soup_method> const tasks{task_arithmetic, ties,         dare_linear, dare_ties,
                                       della,           della_linear, breadcrumbs, breadcrumbs_ties};
  std::vector<soup_method> with_linear = tasks;
  with_linear.push_back(linear);
  std::vector<soup_method> weighted = with_linear;
  weighted.insert(weighted.end(), {nuslerp, multislerp});
  return {
      {"weight", kind::real, scope::input, weighted, "of a model"},
      {"t", kind::real, scope::shared, {slerp}, "0: the base, 1: the other model"},
      {"normalize", kind::boolean, scope::shared, with_linear, "divide by the sum of the weights"},
      {"rescale", kind::boolean, scope::shared, tasks, "scale what is kept to the sum of magnitudes before"},
      {"int8_mask", kind::boolean, scope::shared, tasks, "has no effect; kedge's masks are small anyway"},
      {"lambda", kind::real, scope::shared, tasks, "scale of the summed task vectors"},
      {"density", kind::real, scope::input, tasks, "share of a task vector's entries to keep"},
      {"gamma", kind::real, scope::input, {breadcrumbs, breadcrumbs_ties}, "share of the largest entries to drop"},
      {"epsilon", kind::real, scope::input, {della, della_linear}, "half the spread of the probabilities around density"},
      {"nuslerp_row_wise", kind::boolean, scope::shared, {nuslerp}, "along the first axis, where not flattened"},
      {"nuslerp_flatten", kind::boolean, scope::shared, {nuslerp}, "one angle a tensor, not one a row"},
      {"normalize_weights", kind::boolean, scope::shared, {multislerp}, "divide the weights by their sum"},
      {"eps", kind::real, scope::shared, {multislerp}, "added to norms"},
      {"max_iter", kind::integer, scope::shared, {karcher}, "most iterations"},
      {"tol", kind::real, scope::shared, {karcher}, "angle at which to stop"},
      {"filter_wise", kind::boolean, scope::shared, {model_stock}, "one angle a row, not one a tensor"},
      {"scale", kind::real, scope::input, {passthrough}, "factor on the numbers"},
      {"alpha", kind::real, scope::shared, {expo}, "how far beyond the trained model"},
  };
}

parameter_info const* find_info(std::string_view name) {
  for (auto const& info : soup_parameter_table())
    if (info.name == name) return &info;
  return nullptr;
}

}  // namespace

soup_method soup_method_from_name(std::string_view wanted) {
  if (auto const method = from_name<soup_method>(wanted)) return *method;
  throw error("there is no merge method " + in_quotes(wanted) + "; there are " + all_names<soup_method>());
}

std::span<parameter_info const> soup_parameter_table() {
  static std::vector<parameter_info> const table = make_table();
  return table;
}

std::optional<double> evaluate(soup_parameters const& table, std::string_view name, std::string_view tensor, double t) {
  auto const found = table.find(name);
  if (found == table.end()) return std::nullopt;
  parameter_info const* const info = find_info(name);
  for (auto const& rule : found->second) {
    if (!rule.filter.empty() && rule.filter != "*" && tensor.find(rule.filter) == std::string_view::npos) continue;
    if (rule.values.empty()) return std::nullopt;
    double const place = t * static_cast<double>(rule.values.size() - 1);
    auto const below = std::min(static_cast<std::size_t>(place), rule.values.size() - 1);
    if (info != nullptr && info->type == parameter_info::kind::boolean) return rule.values[below];
    std::size_t const above = std::min(below + 1, rule.values.size() - 1);
    double const share = place - static_cast<double>(below);
    return (1 - share) * rule.values[below] + share * rule.values[above];
  }
  return std::nullopt;
}

std::pair<std::filesystem::path, std::optional<double>> parse_weighted_model(std::string_view text) {
  auto const colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return {std::filesystem::path(text), std::nullopt};
  std::string_view number = text.substr(colon + 1);
  if (number.starts_with('+')) number.remove_prefix(1);
  double weight = 0;
  auto const [end, problem] = std::from_chars(number.data(), number.data() + number.size(), weight);
  bool const whole = problem == std::errc{} && end == number.data() + number.size() && !number.empty();
  if (!whole) return {std::filesystem::path(text), std::nullopt};
  if (!std::isfinite(weight)) throw error("the weight of " + in_quotes(text) + " is not a finite number");
  return {std::filesystem::path(text.substr(0, colon)), weight};
}

}  // namespace kedge::llm
