// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "../model/context_parallel.hpp"
#include "process_group.hpp"

namespace kedge::llm {

/// How the processes of a run are divided where some of them share every sequence: N in a row are a ring, and those at the same place of all rings
/// divide the examples.
struct context_groups {
  process_group data;                    ///< of those that have other examples
  std::shared_ptr<context_ring> ring{};  ///< of those that share them; null: nobody does
};

/// throws  error if `all` isn't so many times as many
[[nodiscard]] context_groups divide_by_context(process_group const& all, int context_size);

}  // namespace kedge::llm
