// SPDX-License-Identifier: Apache-2.0
#include "matrix_units.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace kedge::llm {

bool processor_multiplies_bf16() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned amx_bf16 = 1U << 22;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & amx_bf16) != 0;
#else
  return false;
#endif
}

}  // namespace kedge::llm
