// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/train/run_settings.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// The group of those who were started together; the first to ask waits for it. Tells the settings which GPU is this process's.
/// timeout: seconds to wait for the others
[[nodiscard]] process_group join(launch const& where, device_settings& compute, std::size_t timeout);

/// The group of a run, by settings.where.
[[nodiscard]] process_group join_run(run_settings& settings);

}  // namespace kedge::llm
