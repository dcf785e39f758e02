// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/train/run_settings.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// The group of a run, by settings.where. Tells the settings which GPU is this process's.
[[nodiscard]] process_group join_run(run_settings& settings);

}  // namespace kedge::llm
