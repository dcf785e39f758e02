// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>  // function

#include <kedge/llm/soup/recipe.hpp>

#include "../base/yaml_value.hpp"

namespace kedge::llm {

/// A number of a recipe as mergekit reads it: texts that are numbers count as such, and so do `true`, `yes` and `on` as 1.
/// throws  kedge::llm::error with file, line and name if it is none, or not finite
double read_number(yaml_value const& value, std::string const& name, parameter_info::kind kind,
                   std::filesystem::path const& file);

/// A parameter's rules: a number, a list over the depth, {filter, value}, or a list of those.
/// tell_unknown  is called with each {filter, value}
std::vector<parameter_rule> read_rules(yaml_value const& value, parameter_info const& info, std::filesystem::path const& file,
                                       std::function<void(yaml_value const&)> const& tell_unknown);

}  // namespace kedge::llm
