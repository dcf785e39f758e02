// SPDX-License-Identifier: Apache-2.0

// NEON of 64-bit ARM: vectors of 4, 32 registers.

#define KEDGE_ISA neon
#define KEDGE_LANES 4

#include <arm_neon.h>

#include "../parts_by_count.hpp"

namespace kedge::llm::neon {

constexpr char const* name = "neon";
constexpr std::size_t tile_sums = 24;
constexpr std::size_t tile_vectors = 3;
constexpr std::size_t tile_depth = 512;
constexpr std::size_t near_numbers = 128 * 512;
constexpr std::size_t near_scores = 64 * 1024;

KEDGE_INLINE floats broadcast(float x) { return floats(vdupq_n_f32(x)); }
KEDGE_INLINE words broadcast(std::uint32_t x) { return words(vdupq_n_u32(x)); }

KEDGE_INLINE floats fma(floats a, floats b, floats c) { return floats(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b))); }
KEDGE_INLINE floats min(floats a, floats b) { return floats(vminq_f32(float32x4_t(a), float32x4_t(b))); }
KEDGE_INLINE floats max(floats a, floats b) { return floats(vmaxq_f32(float32x4_t(a), float32x4_t(b))); }
KEDGE_INLINE floats sqrt(floats x) { return floats(vsqrtq_f32(float32x4_t(x))); }
KEDGE_INLINE floats round(floats x) { return floats(vrndnq_f32(float32x4_t(x))); }
KEDGE_INLINE floats times_power_of_two(floats x, floats n) { return times_two_powers(x, n); }

}  // namespace kedge::llm::neon

#include "../all.hpp"
