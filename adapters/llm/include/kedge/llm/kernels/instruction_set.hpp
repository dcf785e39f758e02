// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace kedge::llm {

/// The instruction set whose kernels are used: the best that this processor runs, or the one that the environment variable KEDGE_ISA names.
/// With another one the last digits of results differ.
/// throws  error if KEDGE_ISA names none, or one that this processor doesn't run
[[nodiscard]] std::string instruction_set();

/// All that this processor runs and this build has kernels for, the best in front.
[[nodiscard]] std::vector<std::string> instruction_sets();

}  // namespace kedge::llm
