// SPDX-License-Identifier: Apache-2.0
#include "recipe_parameters.hpp"

#include <algorithm>  // find, transform
#include <array>      // array
#include <cctype>     // tolower
#include <cmath>      // floor, isfinite

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

using std::filesystem::path;

[[noreturn]] void fail(yaml_value const& at, path const& file, std::string const& why) {
  throw error(place_of(file, at) + ": " + why);
}

std::optional<double> truth_in(yaml_value const& value) {
  static constexpr std::array<std::string_view, 6> yes{"true", "yes", "on", "t", "y", "1"},
      no{"false", "no", "off", "f", "n", "0"};
  std::string word = value.text;
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (std::find(yes.begin(), yes.end(), word) != yes.end()) return 1;
  if (std::find(no.begin(), no.end(), word) != no.end()) return 0;
  return std::nullopt;
}

std::vector<double> read_values(yaml_value const& value, parameter_info const& info, path const& file) {
  std::string const name{info.name};
  if (value.kind != yaml_kind::list) return {read_number(value, name, info.type, file)};
  std::vector<double> out;
  for (auto const& item : value.items) out.push_back(read_number(item, name, info.type, file));
  return out;
}

}  // namespace

double read_number(yaml_value const& value, std::string const& name, parameter_info::kind kind, path const& file) {
  std::optional<double> number;
  if (value.kind == yaml_kind::text)
    number = number_in(value.text);
  else if (value.is_scalar())
    number = value.number;
  if (kind == parameter_info::kind::boolean) {
    if (value.kind == yaml_kind::text) number = truth_in(value);
    if (!number || (*number != 0 && *number != 1)) fail(value, file, name + " should be true or false");
    return *number;
  }
  if (!number || !std::isfinite(*number)) fail(value, file, name + " should be a finite number");
  if (kind == parameter_info::kind::integer && *number != std::floor(*number))
    fail(value, file, name + " should be a whole number");
  return *number;
}

std::vector<parameter_rule> read_rules(yaml_value const& value, parameter_info const& info, path const& file,
                                       std::function<void(yaml_value const&)> const& tell_unknown) {
  bool const is_list = value.kind == yaml_kind::list;
  bool const conditional =
      value.kind == yaml_kind::mapping || (is_list && !value.items.empty() && value.items.front().kind == yaml_kind::mapping);
  if (!conditional) return {{"", read_values(value, info, file)}};
  std::vector<parameter_rule> out;
  auto const add = [&](yaml_value const& rule) {
    if (rule.kind != yaml_kind::mapping) fail(rule, file, std::string{info.name} + " mixes numbers and filters");
    tell_unknown(rule);
    if (rule["value"].is_null()) fail(rule, file, "a filter without value");
    if (!rule["filter"].is_null() && !rule["filter"].is_scalar()) fail(rule, file, "a filter is a part of a tensor's name");
    out.push_back({rule["filter"].text, read_values(rule["value"], info, file)});
  };
  if (is_list)
    for (auto const& rule : value.items) add(rule);
  else
    add(value);
  return out;
}

}  // namespace kedge::llm
