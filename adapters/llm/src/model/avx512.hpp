// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the files of AVX-512 loops share. Everything here is of its including file alone (unnamed namespace), for the linker must
// not choose one of these for code that runs on other processors.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace kedge::llm {
namespace {

constexpr std::size_t lanes = 16;

// Whether this processor has all that files including this are compiled for.
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}

// The first n lanes, n ≥ 0.
inline __mmask16 first_lanes(std::size_t n) { return n >= lanes ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1U << n) - 1); }

// e^x to about one unit in the last place: x = n ln 2 + r, a polynomial in r, times 2^n. Zero far below, infinity far above.
inline __m512 exp_of(__m512 x) {
  x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(89.0F)), _mm512_set1_ps(-104.0F));
  __m512 const n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
  __m512 p = _mm512_set1_ps(1.0F / 5040);
  constexpr float coefficients[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  for (float const c : coefficients) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

}  // namespace
}  // namespace kedge::llm
