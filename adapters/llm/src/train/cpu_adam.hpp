// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <kedge/llm/model/moments.hpp>

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

/// n parameters in a row, of a tensor's from `first_index` on, a multiple of moment_block.
struct adam_range {
  float *theta, *gradient;
  void *first, *second;                ///< moments: fp32, bf16, or codes
  float *first_scale, *second_scale;   ///< of the blocks of codes, else null
  std::uint16_t* copy;                 ///< bf16 of theta, or null
  std::size_t n, first_index;
};

/// Takes a step in one pass over memory. First moments are rounded to nearest. Second moments change by a thousandth in a step, less than a
/// short format resolves: they are rounded up or down at random, so that they are right on average.
using adam_kernel = void (*)(moment_type moments, adam_range const& range, adam_numbers const& numbers);

/// That of this processor; null where none is written for it.
[[nodiscard]] adam_kernel fast_adam();

}  // namespace kedge::llm
