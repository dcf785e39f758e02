// SPDX-License-Identifier: Apache-2.0

// AVX-512 with matrix units for bf16 (AMX).

#define KEDGE_ISA amx
#define KEDGE_LANES 16

#include "avx512_operations.hpp"

namespace kedge::llm::amx {

constexpr char const* name = "amx";

}  // namespace kedge::llm::amx

#include "../all.hpp"
