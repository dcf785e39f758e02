// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

namespace kedge::llm {

/// The instruction set whose kernels are used: the best that this processor runs, unless another was named.
[[nodiscard]] std::string instruction_set();

/// Names another one, for the whole process; programs pass the environment variable KEDGE_ISA. With it the last digits of results differ, so that
/// it comes before the first model is opened.
/// throws  error if the name is none of this build's, or one that this processor doesn't run
void use_instruction_set(std::string_view name);

/// All that this processor runs and this build has kernels for, the best in front.
[[nodiscard]] std::vector<std::string> instruction_sets();

}  // namespace kedge::llm
