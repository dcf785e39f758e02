// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// One step of AdamW, as numbers: with g the gradient times `scale`,
///   m ← m + (1 − β₁)(g − m),  v ← β₂ v + (1 − β₂) g²,  θ ← decay θ − rate m / (√v · root + ε)
struct adam_numbers {
  float decay;  ///< 1 − learning rate · weight decay
  float rate;   ///< learning rate / (1 − β₁ᵗ)
  float root;   ///< 1/√(1 − β₂ᵗ)
  float beta1, beta2, epsilon, scale;
  std::uint32_t seed;  ///< of the random numbers that round second moments
  bool zero_gradient;
};

/// A pair of numbers y = a x + b.
struct line {
  float a, b;
};

/// Codes of 8 bits are a floating format with decimal exponents: between 10⁻ᵏ and 10¹⁻ᵏ of a block's largest number they are evenly
/// spaced, twice as dense in each decade as in the one below (Dettmers et al. 2022, dynamic quantisation). The code as a function of the
/// number is then concave, the least of these lines, and the number as a function of the code the largest of their inverses.
inline constexpr std::size_t code_lines = 8;
/// Of roots of second moments, 0 … 1 to 0 … 255.
inline constexpr std::array<line, code_lines> unsigned_lines = [] {
  std::array<line, code_lines> lines{line{1e7F, 0}};
  double decade = 1e6, codes = 2;
  for (std::size_t i = 1; i < code_lines; ++i, decade /= 10, codes *= 2)
    lines[i] = {static_cast<float>(decade * codes / 0.9), static_cast<float>(codes - 1 - codes / 9)};
  return lines;
}();
/// Of magnitudes of first moments, 0 … 1 to 0 … 127; the sign is the highest bit.
inline constexpr std::array<line, code_lines> signed_lines = [] {
  std::array<line, code_lines> lines{line{1e7F, 0}};
  double decade = 1e6, codes = 1;
  for (std::size_t i = 1; i < code_lines; ++i, decade /= 10, codes *= 2) {
    double const steps = codes == 64 ? 63 : codes;
    lines[i] = {static_cast<float>(decade * steps / 0.9), static_cast<float>(codes - steps / 9)};
  }
  return lines;
}();

/// 32 random bits for element `index`: a mixing function, so that the numbers depend on nothing but the step and the place.
inline constexpr std::uint32_t mixing = 0x7feb352d;
[[nodiscard]] constexpr std::uint32_t random_bits(std::uint32_t seed, std::uint32_t index) {
  std::uint32_t x = index ^ seed;
  x = (x ^ (x >> 16)) * mixing;
  x = (x ^ (x >> 15)) * mixing;
  return x ^ (x >> 16);
}

/// Numbers of a tensor, in the order of its memory, that share a scale of their codes.
inline constexpr std::size_t adam_block = 256;

/// How many blocks so many numbers are; the last one may be shorter.
template <class Integer>
[[nodiscard]] constexpr Integer adam_blocks(Integer numbers) {
  return (numbers + Integer{adam_block} - 1) / Integer{adam_block};
}

/// n parameters in a row, of a tensor's from `first_index` on, a multiple of adam_block.
struct adam_range {
  float *theta, *gradient;
  void *first, *second;                ///< moments: fp32, bf16, or codes
  float *first_scale, *second_scale;   ///< of the blocks of codes, else null
  std::uint16_t* copy;                 ///< bf16 of theta, or null
  std::size_t n, first_index;
};

/// Each takes a step in one pass over memory, with moments in that format. First moments are rounded to nearest. Second moments change by a
/// thousandth in a step, less than a short format resolves: they are rounded up or down at random, so that they are right on average.
struct adam_kernels {
  void (*step_fp32)(adam_range const& range, adam_numbers const& numbers);
  void (*step_bf16)(adam_range const& range, adam_numbers const& numbers);
  void (*step_bits8)(adam_range const& range, adam_numbers const& numbers);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace adam {

// Parameters from i on: gradient, moments, parameter, copy.
template <class Lanes>
KEDGE_INLINE void step_lanes(adam_range const& r, std::size_t i, Lanes some, adam_numbers const& s, floats& m, floats& v) {
  floats const g = load(r.gradient + i, some) * s.scale;
  if (s.zero_gradient) store(r.gradient + i, zero(), some);
  m = fma(broadcast(1 - s.beta1), g - m, m);
  v = fma(g * (1 - s.beta2), g, v * s.beta2);
  floats const denominator = fma(sqrt(v), broadcast(s.root), broadcast(s.epsilon));
  floats const theta = fma(broadcast(-s.rate), m / denominator, load(r.theta + i, some) * s.decay);
  store(r.theta + i, theta, some);
  if (r.copy) store(r.copy + i, narrowed(theta), some);
}

KEDGE_INLINE words random_lanes(std::uint32_t seed, std::size_t index) {
  words x;
  for (std::size_t i = 0; i < lanes; ++i) x[i] = static_cast<std::uint32_t>(i);
  x = (x + static_cast<std::uint32_t>(index)) ^ seed;
  x = (x ^ (x >> 16)) * mixing;
  x = (x ^ (x >> 15)) * mixing;
  return x ^ (x >> 16);
}

inline void step_fp32(adam_range const& r, adam_numbers const& s) {
  auto *const first = static_cast<float*>(r.first), *const second = static_cast<float*>(r.second);
  each(r.n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats m = load(first + i, some), v = load(second + i, some);
    step_lanes(r, i, some, s, m, v);
    store(first + i, m, some);
    store(second + i, v, some);
  });
}

inline void step_bf16(adam_range const& r, adam_numbers const& s) {
  auto *const first = static_cast<std::uint16_t*>(r.first), *const second = static_cast<std::uint16_t*>(r.second);
  each(r.n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats m = number(first + i, some), v = number(second + i, some);
    step_lanes(r, i, some, s, m, v);
    store(first + i, narrowed(m), some);
    words const noise = random_lanes(s.seed, r.first_index + i) & 0xffffU;
    store(second + i, (words(v) + noise) >> 16, some);
  });
}

// Slopes and heights of lines in plain arrays: what a standard container would call stays out of here.
struct lines {
  float a[code_lines], b[code_lines];
};
constexpr lines plain(std::array<line, code_lines> const& from) {
  lines to{};
  std::size_t i = 0;
  for (line const& l : from) {
    to.a[i] = l.a;
    to.b[i++] = l.b;
  }
  return to;
}
inline constexpr lines signed_codes = plain(signed_lines), unsigned_codes = plain(unsigned_lines);

KEDGE_INLINE floats code_of(lines const& l, floats x) {
  floats least = x * l.a[0];
#pragma GCC unroll 8
  for (std::size_t i = 1; i < code_lines; ++i) least = min(least, fma(broadcast(l.a[i]), x, broadcast(l.b[i])));
  return least;
}

KEDGE_INLINE floats number_of(lines const& l, floats code) {
  floats most = code * (1 / l.a[0]);
#pragma GCC unroll 8
  for (std::size_t i = 1; i < code_lines; ++i) most = max(most, (code - l.b[i]) * (1 / l.a[i]));
  return most;
}

// Codes are below 256, so that signed conversions are theirs.
KEDGE_INLINE floats as_floats(words codes) { return __builtin_convertvector(ints(codes), floats); }
KEDGE_INLINE words as_codes(floats x, std::int32_t most) {
  ints const code = __builtin_convertvector(x, ints);
  return words(code < most ? code : most - ints{});
}

// The moments of a block as the step leaves them, in fp32.
struct block_moments {
  float first[adam_block], root[adam_block];
  float first_largest = 0, root_largest = 0;
};

inline void step_block(adam_range const& r, std::size_t begin, std::size_t end, adam_numbers const& s, block_moments& now) {
  auto *const first = static_cast<std::uint8_t*>(r.first) + begin, *const second = static_cast<std::uint8_t*>(r.second) + begin;
  float const first_scale = r.first_scale[begin / adam_block], root_scale = r.second_scale[begin / adam_block];
  floats first_largest = zero(), root_largest = zero();
  each(end - begin, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    words const codes = load(first + i, some);
    floats const size = number_of(signed_codes, as_floats(codes & 0x7fU));
    floats m = floats(words(size) | ((codes & 0x80U) << 24)) * first_scale;
    floats const root = number_of(unsigned_codes, as_floats(load(second + i, some))) * root_scale;
    floats v = root * root;
    step_lanes(r, begin + i, some, s, m, v);
    floats const new_root = sqrt(v);
    store(now.first + i, m, some);
    store(now.root + i, new_root, some);
    first_largest = max(first_largest, keep(magnitude(m), some, zero()));
    root_largest = max(root_largest, keep(new_root, some, zero()));
  });
  now.first_largest = largest(first_largest);
  now.root_largest = largest(root_largest);
}

inline void store_block(adam_range const& r, std::size_t begin, std::size_t end, adam_numbers const& s, block_moments const& now) {
  auto *const first = static_cast<std::uint8_t*>(r.first) + begin, *const second = static_cast<std::uint8_t*>(r.second) + begin;
  float const to_first = now.first_largest > 0 ? 1 / now.first_largest : 0, to_root = now.root_largest > 0 ? 1 / now.root_largest : 0;
  each(end - begin, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const m = load(now.first + i, some), root = load(now.root + i, some);
    words const sign = (words(m) & 0x8000'0000U) >> 24;
    store(first + i, as_codes(code_of(signed_codes, magnitude(m) * to_first) + 0.5F, 127) | sign, some);
    floats const dither = as_floats(random_lanes(s.seed, r.first_index + begin + i) >> 8) * 0x1p-24F;
    words const code = as_codes(code_of(unsigned_codes, root * to_root) + dither, 255);
    // Nothing positive becomes 0, by which a step would be divided.
    store(second + i, ((root > zero()) & (ints(code) == 0)) ? words{} + 1U : code, some);
  });
  r.first_scale[begin / adam_block] = now.first_largest;
  r.second_scale[begin / adam_block] = now.root_largest;
}

inline void step_bits8(adam_range const& r, adam_numbers const& s) {
  block_moments now;
  for (std::size_t begin = 0; begin < r.n; begin += adam_block) {
    std::size_t const end = smaller(r.n, begin + adam_block);
    step_block(r, begin, end, s, now);
    store_block(r, begin, end, s, now);
  }
}

inline constexpr adam_kernels table{step_fp32, step_bf16, step_bits8};

}  // namespace adam
}  // namespace kedge::llm::KEDGE_ISA
#endif
