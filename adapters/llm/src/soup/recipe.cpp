// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // find, min
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
  constexpr auto none = std::nullopt;
  std::vector<soup_method> const tasks{task_arithmetic, ties, dare_linear, dare_ties, della, della_linear, breadcrumbs, breadcrumbs_ties};
  auto const with = [](std::vector<soup_method> some, std::vector<soup_method> const& more) {
    some.insert(some.end(), more.begin(), more.end());
    return some;
  };
  std::vector<soup_method> const scaled = with(tasks, {sce, ram, ramplus_tl, model_stock});
  return {
      {"weight", kind::real, scope::input, with(tasks, {linear, nuslerp, multislerp}), none, "of a model"},
      {"t", kind::real, scope::shared, {slerp}, none, "slerp: 0 is the base, 1 the other model"},
      {"t", kind::real, scope::shared, {nearswap}, none, "nearswap: how far an entry moves at most"},
      {"normalize", kind::boolean, scope::shared, {linear, ties, della}, 1, "divide by the sum of the weights"},
      {"normalize", kind::boolean, scope::shared, {task_arithmetic, dare_linear, dare_ties, della_linear, breadcrumbs, breadcrumbs_ties}, 0, ""},
      {"rescale", kind::boolean, scope::shared, {dare_linear, dare_ties, della, della_linear}, 1, "scale what is kept to the sum of magnitudes before"},
      {"rescale", kind::boolean, scope::shared, {task_arithmetic, ties, breadcrumbs, breadcrumbs_ties}, 0, ""},
      {"int8_mask", kind::boolean, scope::shared, with(tasks, {sce}), 0, "has no effect; kedge's masks are small anyway"},
      {"lambda", kind::real, scope::shared, tasks, 1, "scale of the summed task vectors"},
      {"lines_alpha", kind::real, scope::shared, scaled, 1, "LiNeS: scale of what is added to the base in the first layer"},
      {"lines_beta", kind::real, scope::shared, scaled, 0, "LiNeS: how much that scale grows up to the last layer"},
      {"density", kind::real, scope::input, tasks, 1, "share of a task vector's entries to keep"},
      {"gamma", kind::real, scope::input, {breadcrumbs, breadcrumbs_ties}, 0.01, "share of the largest entries to drop"},
      {"epsilon", kind::real, scope::input, {della, della_linear}, 0.15, "della: half the spread of the probabilities around density"},
      {"epsilon", kind::real, scope::shared, {ram, ramplus_tl}, 1e-5, "ram: entries of a task vector up to this are no change"},
      {"r", kind::real, scope::shared, {ramplus_tl}, 0.1, "growth of a model's own entries with the share of those it shares"},
      {"alpha", kind::real, scope::shared, {ramplus_tl}, 0.2, "ramplus_tl: the share counts up to this"},
      {"alpha", kind::real, scope::shared, {expo}, none, "expo: how far beyond the trained model"},
      {"select_topk", kind::real, scope::shared, {sce}, 1, "share of the entries that differ between models to keep, the most different first"},
      {"nuslerp_row_wise", kind::boolean, scope::shared, {nuslerp}, 0, "along the first axis, where not flattened"},
      {"nuslerp_flatten", kind::boolean, scope::shared, {nuslerp}, 1, "one angle a tensor, not one a row"},
      {"normalize_weights", kind::boolean, scope::shared, {multislerp}, 1, "divide the weights by their sum"},
      {"eps", kind::real, scope::shared, {multislerp}, 1e-8, "added to norms"},
      {"max_iter", kind::integer, scope::shared, {karcher}, 10, "most iterations"},
      {"tol", kind::real, scope::shared, {karcher}, 1e-5, "angle at which to stop"},
      {"filter_wise", kind::boolean, scope::shared, {model_stock}, 0, "one angle a row, not one a tensor"},
      {"scale", kind::real, scope::input, {passthrough}, 1, "factor on the numbers"},
  };
}

}  // namespace

bool parameter_info::is_read_by(soup_method method) const { return std::find(methods.begin(), methods.end(), method) != methods.end(); }

parameter_info const* find_parameter(std::string_view name, soup_method method) {
  parameter_info const* first = nullptr;
  for (auto const& info : soup_parameter_table()) {
    if (info.name != name) continue;
    if (info.is_read_by(method)) return &info;
    if (first == nullptr) first = &info;
  }
  return first;
}

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
  parameter_info const* const info = find_parameter(name, soup_method::greedy);  // a name's type is one for all methods
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
