// SPDX-License-Identifier: Apache-2.0

// AVX2 with FMA: vectors of 8, 16 registers.

#define KEDGE_ISA avx2
#define KEDGE_LANES 8

#include <immintrin.h>

#include "../types.hpp"

namespace kedge::llm::avx2 {

constexpr char const* name = "avx2";
constexpr std::size_t tile_sums = 12;
constexpr std::size_t tile_vectors = 3;
constexpr std::size_t tile_depth = 384;            // a panel of 24 columns takes 36 KiB
constexpr std::size_t near_numbers = 192 * 384;    // rows: 288 KiB
constexpr std::size_t near_scores = 64 * 1024;

using part = __m256i;
KEDGE_INLINE part first(std::size_t n) {
  int const count = n >= lanes ? static_cast<int>(lanes) : static_cast<int>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
KEDGE_INLINE std::size_t count(part some) { return static_cast<std::size_t>(__builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(some))))); }

KEDGE_INLINE floats broadcast(float x) { return _mm256_set1_ps(x); }
KEDGE_INLINE words broadcast(std::uint32_t x) { return words(_mm256_set1_epi32(static_cast<int>(x))); }
KEDGE_INLINE floats load(float const* at, part some) { return _mm256_maskload_ps(at, some); }
// The instruction that stores some of a vector takes tens of cycles on many processors.
KEDGE_INLINE void store(float* at, floats x, part some) { store_first(at, x, count(some)); }
KEDGE_INLINE words load(std::uint16_t const* at, part some) { return load_first(at, count(some)); }
KEDGE_INLINE words load(std::uint8_t const* at, part some) { return load_first(at, count(some)); }
KEDGE_INLINE void store(std::uint16_t* at, words x, part some) { store_first(at, x, count(some)); }
KEDGE_INLINE void store(std::uint8_t* at, words x, part some) { store_first(at, x, count(some)); }
KEDGE_INLINE floats keep(floats x, part some, floats otherwise) { return _mm256_blendv_ps(otherwise, x, _mm256_castsi256_ps(some)); }

KEDGE_INLINE floats fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
KEDGE_INLINE floats min(floats a, floats b) { return _mm256_min_ps(a, b); }
KEDGE_INLINE floats max(floats a, floats b) { return _mm256_max_ps(a, b); }
KEDGE_INLINE floats sqrt(floats x) { return _mm256_sqrt_ps(x); }
KEDGE_INLINE floats round(floats x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
KEDGE_INLINE floats times_power_of_two(floats x, floats n) { return times_two_powers(x, n); }

}  // namespace kedge::llm::avx2

#include "../all.hpp"
