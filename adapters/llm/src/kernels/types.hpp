// SPDX-License-Identifier: Apache-2.0
#pragma once

// Vectors of KEDGE_LANES numbers as the compiler's own types, in the namespace KEDGE_ISA: for the files of isa/, which say both names and
// then the operations that their processor has instructions for. vector.hpp says the rest with them. Only what stands here and in the
// kernels may be called there: an inline function of another header would be compiled for that processor, and might be the copy that the
// linker keeps for all.

#include <cstddef>
#include <cstdint>

#define KEDGE_INLINE [[gnu::always_inline]] inline

// Vectors wider than the processor's registers would be passed in memory; all of it is inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace kedge::llm::KEDGE_ISA {

inline constexpr std::size_t lanes = KEDGE_LANES;

using floats [[gnu::vector_size(KEDGE_LANES * 4)]] = float;
using ints [[gnu::vector_size(KEDGE_LANES * 4)]] = std::int32_t;
using words [[gnu::vector_size(KEDGE_LANES * 4)]] = std::uint32_t;
using halves [[gnu::vector_size(KEDGE_LANES * 2)]] = std::uint16_t;
using bytes [[gnu::vector_size(KEDGE_LANES)]] = std::uint8_t;

template <class Vector, class Element>
KEDGE_INLINE Vector loaded(Element const* at) {
  Vector x;
  __builtin_memcpy(&x, at, sizeof x);
  return x;
}
template <class Vector, class Element>
KEDGE_INLINE Vector loaded_first(Element const* at, std::size_t count) {
  Element some[lanes] = {};
  for (std::size_t i = 0; i < count; ++i) some[i] = at[i];
  return loaded<Vector>(some);
}
template <class Vector, class Element>
KEDGE_INLINE void stored_first(Element* at, Vector x, std::size_t count) {
  Element all[lanes];
  __builtin_memcpy(all, &x, sizeof x);
  for (std::size_t i = 0; i < count; ++i) at[i] = all[i];
}

// Numbers of 16 and 8 bits are words in registers.
KEDGE_INLINE floats load(float const* at) { return loaded<floats>(at); }
KEDGE_INLINE words load(std::uint32_t const* at) { return loaded<words>(at); }
KEDGE_INLINE words load(std::uint16_t const* at) { return __builtin_convertvector(loaded<halves>(at), words); }
KEDGE_INLINE words load(std::uint8_t const* at) { return __builtin_convertvector(loaded<bytes>(at), words); }
KEDGE_INLINE void store(float* at, floats x) { __builtin_memcpy(at, &x, sizeof x); }
KEDGE_INLINE void store(std::uint16_t* at, words x) {
  halves const narrow = __builtin_convertvector(x, halves);
  __builtin_memcpy(at, &narrow, sizeof narrow);
}
KEDGE_INLINE void store(std::uint8_t* at, words x) {
  bytes const narrow = __builtin_convertvector(x, bytes);
  __builtin_memcpy(at, &narrow, sizeof narrow);
}

// The first `count` lanes; zeros in the others.
KEDGE_INLINE floats load_first(float const* at, std::size_t count) { return loaded_first<floats>(at, count); }
KEDGE_INLINE words load_first(std::uint16_t const* at, std::size_t count) {
  return __builtin_convertvector(loaded_first<halves>(at, count), words);
}
KEDGE_INLINE words load_first(std::uint8_t const* at, std::size_t count) {
  return __builtin_convertvector(loaded_first<bytes>(at, count), words);
}
KEDGE_INLINE void store_first(float* at, floats x, std::size_t count) { stored_first(at, x, count); }
KEDGE_INLINE void store_first(std::uint16_t* at, words x, std::size_t count) { stored_first(at, __builtin_convertvector(x, halves), count); }
KEDGE_INLINE void store_first(std::uint8_t* at, words x, std::size_t count) { stored_first(at, __builtin_convertvector(x, bytes), count); }
KEDGE_INLINE floats keep_first(floats x, std::size_t count, floats otherwise) {
  for (std::size_t i = 0; i < lanes; ++i) x[i] = i < count ? x[i] : otherwise[i];
  return x;
}

// x 2^n in two steps: 2^n alone may be no number.
KEDGE_INLINE floats times_two_powers(floats x, floats n) {
  ints const all = __builtin_convertvector(n, ints), half = all >> 1;
  return x * floats((half + 127) << 23) * floats((all - half + 127) << 23);
}

}  // namespace kedge::llm::KEDGE_ISA
