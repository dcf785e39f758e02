// SPDX-License-Identifier: Apache-2.0

// AVX-512.

#define KEDGE_ISA avx512
#define KEDGE_LANES 16

#include "avx512_operations.hpp"

namespace kedge::llm::avx512 {

constexpr char const* name = "avx512";

}  // namespace kedge::llm::avx512

#include "../all.hpp"
