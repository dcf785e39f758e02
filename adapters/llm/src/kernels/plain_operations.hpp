// SPDX-License-Identifier: Apache-2.0
#pragma once

// The operations of an instruction set without an instruction of any processor named: for a baseline, and for widths that the processor at
// hand doesn't have.

#include "parts_by_count.hpp"

namespace kedge::llm::KEDGE_ISA {

KEDGE_INLINE floats broadcast(float x) {
  floats all;
  for (std::size_t i = 0; i < lanes; ++i) all[i] = x;
  return all;
}
KEDGE_INLINE words broadcast(std::uint32_t x) { return words{} + x; }
KEDGE_INLINE floats fma(floats a, floats b, floats c) { return a * b + c; }
KEDGE_INLINE floats min(floats a, floats b) { return a < b ? a : b; }
KEDGE_INLINE floats max(floats a, floats b) { return a > b ? a : b; }
KEDGE_INLINE floats sqrt(floats x) {
  for (std::size_t i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
// To the nearest integer where |x| < 2^22: near 1.5 · 2^23 the numbers are the integers.
KEDGE_INLINE floats round(floats x) { return (x + 12582912.0F) - 12582912.0F; }
KEDGE_INLINE floats times_power_of_two(floats x, floats n) { return times_two_powers(x, n); }

}  // namespace kedge::llm::KEDGE_ISA
