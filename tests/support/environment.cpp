// SPDX-License-Identifier: Apache-2.0

// Tests run with the kernels that KEDGE_ISA names, as the program does, and reach no hub and no cache of the user's.
#include <cstdlib>

#include <kedge/llm/kernels/instruction_set.hpp>

namespace {

[[maybe_unused]] bool const prepared = [] {
  if (char const* const name = std::getenv("KEDGE_ISA"); name != nullptr && *name != '\0')
    kedge::llm::use_instruction_set(name);
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  ::setenv("HF_HOME", "/nonexistent", 1);
  return true;
}();

}  // namespace
