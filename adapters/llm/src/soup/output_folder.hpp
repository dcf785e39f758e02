// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan.hpp"

namespace kedge::llm {

/// Writes what a model's folder holds besides its weights: config.json with the soup's depth and number format, and the
/// donor's tokenizer, template and generation settings as they are.
void write_companions(std::filesystem::path const& folder, soup_recipe const& recipe, soup_models const& models, soup_plan const& plan);

/// What the weights' file says of itself: transformers' "format", and how it was made, by names of folders without their paths.
std::map<std::string, std::string> provenance(soup_recipe const& recipe);

}  // namespace kedge::llm
