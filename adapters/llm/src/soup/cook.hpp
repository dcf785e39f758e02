// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/base/atomic.hpp>

#include "plan.hpp"

namespace kedge::llm {

/// Merges into a folder that gets its name later.
soup_size cook_into(pending_directory& folder, soup_recipe const& recipe, soup_models const& models, soup_settings const& settings);

}  // namespace kedge::llm
