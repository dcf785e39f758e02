// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every instruction set says with its operations.

#include <utility>

#include "types.hpp"

namespace kedge::llm::KEDGE_ISA {

/// All lanes, where a `part` says some.
struct whole {};
template <class T>
KEDGE_INLINE auto load(T const* at, whole) {
  return load(at);
}
template <class T, class Vector>
KEDGE_INLINE void store(T* at, Vector x, whole) {
  store(at, x);
}
KEDGE_INLINE floats keep(floats x, whole, floats) { return x; }

KEDGE_INLINE floats zero() { return floats{}; }
KEDGE_INLINE constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

/// f(offset, lanes) for 0 … n − 1, as many at a time as there are lanes; `lanes` is whole or a part.
template <class F>
KEDGE_INLINE void each(std::size_t n, F const& f) {
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, whole{});
  if (i < n) f(i, first(n - i));
}

/// Lane i is lane index(i) of a, or index(i) − lanes of b.
template <class Index, std::size_t... I>
KEDGE_INLINE floats shuffle(floats a, floats b, Index index, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, static_cast<int>(index(I))...);
}
template <class Index>
KEDGE_INLINE floats shuffle(floats a, floats b, Index index) {
  return shuffle(a, b, index, std::make_index_sequence<lanes>());
}

/// The lanes reduced to one, in a tree.
template <std::size_t Width = lanes / 2, class F>
KEDGE_INLINE float reduced(floats x, F const& f) {
  x = f(x, shuffle(x, x, [](std::size_t i) constexpr { return (i + Width) % lanes; }));
  if constexpr (Width > 1)
    return reduced<Width / 2>(x, f);
  else
    return x[0];
}
KEDGE_INLINE float sum(floats x) {
  return reduced(x, [](floats a, floats b) __attribute__((always_inline)) { return a + b; });
}
KEDGE_INLINE float largest(floats x) {
  return reduced(x, [](floats a, floats b) __attribute__((always_inline)) { return max(a, b); });
}

KEDGE_INLINE floats magnitude(floats x) { return floats(words(x) & 0x7fffffffU); }

/// e^x to about one unit in the last place: x = n ln 2 + r, a polynomial in r, times 2^n. Zero far below, infinity far above, NaN of NaN:
/// where one operand is NaN, min and max give the second one.
KEDGE_INLINE floats exp(floats x) {
  x = max(broadcast(-104.0F), min(broadcast(89.0F), x));
  floats const n = round(x * 1.44269504F);
  floats r = fma(n, broadcast(-0.693359375F), x);
  r = fma(n, broadcast(2.12194440e-4F), r);
  floats p = broadcast(1.0F / 5040);
  p = fma(p, r, broadcast(1.0F / 720));
  p = fma(p, r, broadcast(1.0F / 120));
  p = fma(p, r, broadcast(1.0F / 24));
  p = fma(p, r, broadcast(1.0F / 6));
  p = fma(p, r, broadcast(0.5F));
  p = fma(p, r, broadcast(1.0F));
  p = fma(p, r, broadcast(1.0F));
  return times_power_of_two(p, n);
}
KEDGE_INLINE floats sigmoid(floats x) { return 1.0F / (1.0F + exp(-x)); }

/// p_0 + p_1 x + p_2 x² + …
template <std::size_t N>
KEDGE_INLINE floats polynomial(float const (&p)[N], floats x) {
  floats y = broadcast(p[N - 1]);
#pragma GCC unroll 8
  for (std::size_t i = 1; i < N; ++i) y = fma(y, x, broadcast(p[N - 1 - i]));
  return y;
}

/// To about two units in the last place: near 0 an odd polynomial, elsewhere 1 − 2 / (1 + e^2x).
KEDGE_INLINE floats tanh(floats x) {
  constexpr float p[] = {-3.333333057e-01F, 1.333319591e-01F,  -5.394537839e-02F,
                         2.169260698e-02F,  -8.156280202e-03F, 2.122745553e-03F};
  floats const size = magnitude(x), square = x * x;
  floats const near = fma(x * square, polynomial(p, square), x);
  floats const far = floats(words(1.0F - 2.0F / (1.0F + exp(2.0F * size))) | (words(x) & 0x80000000U));
  return size < broadcast(0.625F) ? near : far;
}

/// Φ(x), the share of a normal distribution below x: 1/2 + x p(x²) near 0; beyond √2 a tail e^(−x²/2) t q(t), t = 1 / (1 + |x| / 4), of which the one
/// on the left is right to some units in its own last place.
KEDGE_INLINE floats normal_share(floats x) {
  constexpr float p[] = {3.989422804e-01F, -6.649037924e-02F, 9.973548439e-03F, -1.187294159e-03F,
                         1.153676852e-04F, -9.372290446e-06F, 6.218644391e-07F, -2.663118427e-08F};
  constexpr float q[] = {9.974417458e-02F, 9.953678061e-02F,  9.546558224e-02F, 7.021177955e-02F,
                         9.984575134e-02F, -3.235060627e-02F, 1.163659702e-01F, -4.886686365e-02F};
  floats const square = x * x, t = 1.0F / fma(magnitude(x), broadcast(0.25F), broadcast(1.0F));
  floats const tail = exp(-0.5F * square) * (t * polynomial(q, t));
  floats const near = fma(x, polynomial(p, square), broadcast(0.5F));
  return square < broadcast(2.0F) ? near : x < zero() ? tail : 1.0F - tail;
}

/// fp32 numbers of bf16 bits, and the bits of numbers rounded to nearest. NaN stays NaN.
KEDGE_INLINE floats widened(words bits) { return floats(bits << 16); }
KEDGE_INLINE words rounded_bits(floats x) {
  words const bits = words(x), up = bits + 0x7fffU + ((bits >> 16) & 1U);
  return x != x ? bits | 0x00400000U : up;
}
KEDGE_INLINE words narrowed(floats x) { return rounded_bits(x) >> 16; }
template <bool Bf16>
KEDGE_INLINE floats rounded(floats x) {
  if constexpr (Bf16) return floats(rounded_bits(x) & 0xffff0000U);
  return x;
}

/// Numbers of memory that are fp32 or bf16, as fp32.
KEDGE_INLINE floats number(float const* at) { return load(at); }
KEDGE_INLINE floats number(std::uint16_t const* at) { return widened(load(at)); }
template <class Lanes>
KEDGE_INLINE floats number(float const* at, Lanes some) {
  return load(at, some);
}
template <class Lanes>
KEDGE_INLINE floats number(std::uint16_t const* at, Lanes some) {
  return widened(load(at, some));
}

/// Numbers of memory that are fp32 or bf16, as bits of bf16.
KEDGE_INLINE words bits(float const* at) { return narrowed(load(at)); }
KEDGE_INLINE words bits(std::uint16_t const* at) { return load(at); }
KEDGE_INLINE words bits(float const* at, part some) { return narrowed(load(at, some)); }
KEDGE_INLINE words bits(std::uint16_t const* at, part some) { return load(at, some); }

/// Rows become columns. First within blocks of 4 by 4, then blocks of 4 numbers between vectors.
KEDGE_INLINE void transpose(floats (&x)[lanes]) {
  floats y[lanes];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < lanes; i += 2) {
    y[i] = shuffle(x[i], x[i + 1], [](std::size_t j) constexpr { return j / 4 * 4 + j % 4 / 2 + j % 2 * lanes; });
    y[i + 1] = shuffle(x[i], x[i + 1], [](std::size_t j) constexpr { return j / 4 * 4 + 2 + j % 4 / 2 + j % 2 * lanes; });
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < lanes; i += 4)
#pragma GCC unroll 2
    for (std::size_t j = 0; j < 2; ++j) {
      x[i + 2 * j] =
          shuffle(y[i + j], y[i + 2 + j], [](std::size_t l) constexpr { return l / 4 * 4 + l % 2 + l % 4 / 2 * lanes; });
      x[i + 2 * j + 1] =
          shuffle(y[i + j], y[i + 2 + j], [](std::size_t l) constexpr { return l / 4 * 4 + 2 + l % 2 + l % 4 / 2 * lanes; });
    }
  // x[4 q + j] holds column j + 4 l of rows 4 q … 4 q + 3 in its block number l.
  auto const even = [](std::size_t j) constexpr { return j / 4 * 8 + j % 4; };
  auto const odd = [](std::size_t j) constexpr { return j / 4 * 8 + 4 + j % 4; };
  if constexpr (lanes == 8) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      y[j] = shuffle(x[j], x[4 + j], even);
      y[4 + j] = shuffle(x[j], x[4 + j], odd);
    }
  } else if constexpr (lanes == 16) {
#pragma GCC unroll 4
    for (std::size_t j = 0; j < 4; ++j) {
      floats const low = shuffle(x[j], x[4 + j], even), high = shuffle(x[j], x[4 + j], odd);
      floats const low2 = shuffle(x[8 + j], x[12 + j], even), high2 = shuffle(x[8 + j], x[12 + j], odd);
      y[j] = shuffle(low, low2, even);
      y[8 + j] = shuffle(low, low2, odd);
      y[4 + j] = shuffle(high, high2, even);
      y[12 + j] = shuffle(high, high2, odd);
    }
  }
  if constexpr (lanes > 4) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < lanes; ++i) x[i] = y[i];
  }
}

}  // namespace kedge::llm::KEDGE_ISA
