// SPDX-License-Identifier: Apache-2.0
#include "values.hpp"

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

std::optional<double> find(soup_recipe const& recipe, soup_slice const& slice, soup_source const* source, std::string_view name,
                           std::string_view tensor, double t) {
  std::optional<double> out;
  if (source != nullptr) out = evaluate(source->parameters, name, tensor, t);
  if (!out) out = evaluate(slice.parameters, name, tensor, t);
  if (!out) out = evaluate(recipe.parameters, name, tensor, t);
  return out;
}

}  // namespace

merge_values look_up(soup_recipe const& recipe, soup_slice const& slice, tensor_place place, std::string const& name,
                     std::vector<std::string> const& inputs, std::optional<std::size_t> base) {
  merge_values out;
  auto const value = [&](parameter_info const& info, soup_source const* source, std::string const& tensor) {
    if (auto const given = find(recipe, slice, source, info.name, tensor, place.depth)) return *given;
    if (info.otherwise) return *info.otherwise;
    throw error(std::string{name_of(recipe.method)} + " needs the parameter " + in_quotes(info.name) +
                (source != nullptr ? " for " + in_quotes(source->model.text()) : "") + ", which is not given for tensor " +
                in_quotes(tensor));
  };
  for (auto const& info : soup_parameter_table()) {
    if (!info.is_read_by(recipe.method)) continue;
    std::vector<double> values;
    if (info.reach == parameter_info::scope::shared) {
      values.push_back(value(info, nullptr, name));
    } else {
      for (std::size_t s = 0; s < inputs.size(); ++s)
        values.push_back(s == base ? 1 : value(info, &slice.sources[s], inputs[s]));
    }
    out.set(info.name, std::move(values));
  }
  if (find_parameter("lines_alpha", recipe.method)->is_read_by(recipe.method))
    out.growth = out("lines_alpha") + out("lines_beta") * place.in_model;
  return out;
}

}  // namespace kedge::llm
