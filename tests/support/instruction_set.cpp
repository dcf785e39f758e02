// SPDX-License-Identifier: Apache-2.0

// Tests run with the kernels that KEDGE_ISA names, as the program does.
#include <cstdlib>

#include <kedge/llm/kernels/instruction_set.hpp>

namespace {

[[maybe_unused]] bool const named = [] {
  if (char const* const name = std::getenv("KEDGE_ISA"); name != nullptr && *name != '\0')
    kedge::llm::use_instruction_set(name);
  return true;
}();

}  // namespace
