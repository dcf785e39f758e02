// SPDX-License-Identifier: Apache-2.0
#pragma once

// AVX-512 (F, BW, DQ, VL) with FMA: vectors of 16, 32 registers.

#include <immintrin.h>

#include "../types.hpp"

namespace kedge::llm::KEDGE_ISA {

constexpr std::size_t tile_sums = 24;              // registers for the sums of a tile of a product
constexpr std::size_t tile_vectors = 3;            // widest tile
constexpr std::size_t tile_depth = 768;            // of a panel that stays near while rows pass
constexpr std::size_t near_numbers = 512 * 768;    // packed rows that stay near: three quarters of a cache of 2 MiB
constexpr std::size_t near_scores = 128 * 1024;

using part = __mmask16;
KEDGE_INLINE part first(std::size_t n) { return n >= lanes ? static_cast<part>(0xffff) : static_cast<part>((1U << n) - 1); }

KEDGE_INLINE floats broadcast(float x) { return _mm512_set1_ps(x); }
KEDGE_INLINE words broadcast(std::uint32_t x) { return words(_mm512_set1_epi32(static_cast<int>(x))); }
KEDGE_INLINE floats load(float const* at, part some) { return _mm512_maskz_loadu_ps(some, at); }
KEDGE_INLINE void store(float* at, floats x, part some) { _mm512_mask_storeu_ps(at, some, x); }
KEDGE_INLINE words load(std::uint16_t const* at, part some) { return __builtin_convertvector(halves(_mm256_maskz_loadu_epi16(some, at)), words); }
KEDGE_INLINE words load(std::uint8_t const* at, part some) { return __builtin_convertvector(bytes(_mm_maskz_loadu_epi8(some, at)), words); }
KEDGE_INLINE void store(std::uint16_t* at, words x, part some) { _mm256_mask_storeu_epi16(at, some, _mm512_cvtepi32_epi16(__m512i(x))); }
KEDGE_INLINE void store(std::uint8_t* at, words x, part some) { _mm_mask_storeu_epi8(at, some, _mm512_cvtepi32_epi8(__m512i(x))); }
KEDGE_INLINE floats keep(floats x, part some, floats otherwise) { return _mm512_mask_mov_ps(otherwise, some, x); }

KEDGE_INLINE floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
KEDGE_INLINE floats min(floats a, floats b) { return _mm512_min_ps(a, b); }
KEDGE_INLINE floats max(floats a, floats b) { return _mm512_max_ps(a, b); }
KEDGE_INLINE floats sqrt(floats x) { return _mm512_sqrt_ps(x); }
KEDGE_INLINE floats round(floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
KEDGE_INLINE floats times_power_of_two(floats x, floats n) { return _mm512_scalef_ps(x, n); }

}  // namespace kedge::llm::KEDGE_ISA
