// SPDX-License-Identifier: Apache-2.0
#include "gguf_codebooks.hpp"

#include <array>    // array
#include <bit>      // bit_cast, popcount
#include <cstring>  // memcpy

#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {
namespace {

#include "gguf_grids.inc"

using bytes = std::uint8_t const*;

template <class T>
T load(bytes at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
float half_at(bytes at) { return float_from_f16(load<std::uint16_t>(at)); }

unsigned nibble(bytes at, unsigned i) { return at[i / 2] >> 4U * (i % 2) & 15U; }

/// Coordinates of a point of the grids of IQ2 and of IQ3: 2 bits each for 8 of them, 3 bits each for 4.
constexpr std::array<float, 4> levels_of_8{8, 25, 43, 0};
constexpr std::array<float, 8> levels_of_4{4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::array<float, 16> levels_iq4{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr std::array<float, 16> levels_e2m1{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};  // doubled

/// x_i = ± scale · level of the i-th coordinate of an IQ2 point; bit i of `signs` is set where it is negative.
void put_8(float scale, std::uint16_t point, unsigned signs, float* out) {
  for (unsigned i = 0; i < 8; ++i) {
    float const x = scale * levels_of_8[point >> 2 * i & 3U];
    out[i] = (signs >> i & 1U) != 0 ? -x : x;
  }
}

/// Signs of eight numbers, of which seven bits are stored: the eighth makes the number of minus signs even.
unsigned even_signs(unsigned seven) { return seven | (static_cast<unsigned>(std::popcount(seven)) & 1U) << 7U; }

/// Two IQ3 points; `level` says what a coordinate is worth.
template <class Level>
void put_4_and_4(float scale, std::uint16_t first, std::uint16_t second, unsigned signs, float* out, Level level) {
  for (unsigned i = 0; i < 8; ++i) {
    float const x = scale * level((i < 4 ? first : second) >> 3 * (i % 4) & 7U);
    out[i] = (signs >> i & 1U) != 0 ? -x : x;
  }
}

/// x_i = scale · (coordinate + delta), coordinates −1, 0, 1, and delta ±1/8.
void put_ternary(float scale, std::uint16_t point, bool below, float* out) {
  float const delta = below ? -0.125F : 0.125F;
  for (unsigned i = 0; i < 8; ++i) out[i] = scale * (static_cast<float>(point >> 2 * i & 3U) - 1.0F + delta);
}

void put_levels(float scale, bytes quants, unsigned half, std::array<float, 16> const& levels, float* out) {
  for (unsigned i = 0; i < half; ++i) {
    out[i] = scale * levels[quants[i] & 15U];
    out[i + half] = scale * levels[quants[i] >> 4U];
  }
}

/// Half of a power of two, 2^(e − 128), e = 0 and 1 among the subnormal numbers.
float half_power(unsigned e) { return std::bit_cast<float>(e < 2 ? 0x0020'0000U << e : (e - 1) << 23U); }

/// Half of an unsigned number of 4 bits of exponent (bias 7) and 3 of mantissa; 0x7f counts as 0.
float half_e4m3(unsigned bits) {
  unsigned const exponent = bits >> 3U & 15U, mantissa = bits & 7U;
  if (bits == 0x7f) return 0;
  if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10F;
  return std::bit_cast<float>((exponent + 127 - 7 - 1) << 23U | mantissa << 20U);
}

}  // namespace

// 256 weights: scale d, low bytes of 32 points, and a 16-bit word for 32 weights: four times three high bits, a scale s of three, and the sign of delta.
void decode_iq1_s(bytes in, float* out) {
  for (unsigned g = 0; g < 8; ++g) {
    unsigned const word = load<std::uint16_t>(in + 34 + 2 * g);
    float const scale = half_at(in) * static_cast<float>(2 * (word >> 12U & 7U) + 1);
    for (unsigned k = 0; k < 4; ++k)
      put_ternary(scale, iq1_grid[in[2 + 4 * g + k] | (word >> 3 * k & 7U) << 8U], (word & 0x8000U) != 0, out + 32 * g + 8 * k);
  }
}

// As iq1_s, with a scale for 16 weights and a sign of delta for 8. The four bits on top of each word of scales are d.
void decode_iq1_m(bytes in, float* out) {
  std::array<unsigned, 4> words{};
  for (unsigned w = 0; w < 4; ++w) words[w] = load<std::uint16_t>(in + 48 + 2 * w);
  float const d = float_from_f16(static_cast<std::uint16_t>(words[0] >> 12U | (words[1] >> 8U & 0xf0U) | (words[2] >> 4U & 0xf00U) | (words[3] & 0xf000U)));
  for (unsigned k = 0; k < 32; ++k) {
    unsigned const high = nibble(in + 32, k);
    float const scale = d * static_cast<float>(2 * (words[k / 8] >> 3 * (k / 2 % 4) & 7U) + 1);
    put_ternary(scale, iq1_grid[in[k] | (high & 7U) << 8U], (high & 8U) != 0, out + 8 * k);
  }
}

// For 32 weights: four points of a byte each; in a 32-bit word four times seven signs and a scale s of four bits. x = ± d (s + ½)/4 · level
void decode_iq2_xxs(bytes in, float* out) {
  for (unsigned g = 0; g < 8; ++g) {
    bytes const at = in + 2 + 8 * g;
    auto const word = load<std::uint32_t>(at + 4);
    float const scale = half_at(in) * (0.5F + static_cast<float>(word >> 28U)) * 0.25F;
    for (unsigned k = 0; k < 4; ++k) put_8(scale, iq2_xxs_grid[at[k]], even_signs(word >> 7 * k & 127U), out + 32 * g + 8 * k);
  }
}

// A 16-bit word for 8 weights: nine bits name the point, seven the signs; a scale of four bits for 16 weights.
void decode_iq2_xs(bytes in, float* out) {
  for (unsigned k = 0; k < 32; ++k) {
    unsigned const word = load<std::uint16_t>(in + 2 + 2 * k);
    float const scale = half_at(in) * (0.5F + static_cast<float>(nibble(in + 66, k / 2))) * 0.25F;
    put_8(scale, iq2_xs_grid[word & 511U], even_signs(word >> 9U), out + 8 * k);
  }
}

// Ten bits name a point: a byte, and two bits further on; all eight signs are stored.
void decode_iq2_s(bytes in, float* out) {
  for (unsigned k = 0; k < 32; ++k) {
    unsigned const high = in[66 + k / 4] >> 2 * (k % 4) & 3U;
    float const scale = half_at(in) * (0.5F + static_cast<float>(nibble(in + 74, k / 2))) * 0.25F;
    put_8(scale, iq2_s_grid[in[2 + k] | high << 8U], in[34 + k], out + 8 * k);
  }
}

// As iq2_xxs with points of four coordinates. x = ± d (s + ½)/2 · level
void decode_iq3_xxs(bytes in, float* out) {
  auto const level = [](unsigned i) { return levels_of_4[i]; };
  for (unsigned g = 0; g < 8; ++g) {
    bytes const at = in + 2 + 8 * g;
    auto const word = load<std::uint32_t>(in + 66 + 4 * g);
    float const scale = half_at(in) * (0.5F + static_cast<float>(word >> 28U)) * 0.5F;
    for (unsigned k = 0; k < 4; ++k)
      put_4_and_4(scale, iq3_xxs_grid[at[2 * k]], iq3_xxs_grid[at[2 * k + 1]], even_signs(word >> 7 * k & 127U), out + 32 * g + 8 * k, level);
  }
}

// Nine bits name a point of odd coordinates, 1 to 15; all eight signs are stored. x = ± d (2 s + 1) · level
void decode_iq3_s(bytes in, float* out) {
  auto const point = [&](unsigned i) { return iq3_s_grid[in[2 + i] | (in[66 + i / 8] >> (i % 8) & 1U) << 8U]; };
  auto const level = [](unsigned i) { return static_cast<float>(2 * i + 1); };
  for (unsigned k = 0; k < 32; ++k) {
    float const scale = half_at(in) * static_cast<float>(2 * nibble(in + 106, k / 4) + 1);
    put_4_and_4(scale, point(2 * k), point(2 * k + 1), in[74 + k], out + 8 * k, level);
  }
}

// 32 weights, quants of four bits that index uneven levels; low halves come first.
void decode_iq4_nl(bytes in, float* out) { put_levels(half_at(in), in + 2, 16, levels_iq4, out); }

// 256 weights in 8 groups, whose scales of six bits lie in four and in two. x = d (s − 32) · level
void decode_iq4_xs(bytes in, float* out) {
  for (unsigned g = 0; g < 8; ++g) {
    unsigned const scale = nibble(in + 4, g) | (load<std::uint16_t>(in + 2) >> 2 * g & 3U) << 4U;
    put_levels(half_at(in) * (static_cast<float>(scale) - 32.0F), in + 8 + 16 * g, 16, levels_iq4, out + 32 * g);
  }
}

// 32 numbers of 4 bits (E2M1) with a power of two for their scale.
void decode_mxfp4(bytes in, float* out) { put_levels(half_power(in[0]), in + 1, 16, levels_e2m1, out); }

// 64 numbers of 4 bits, a scale of 8 bits for each 16.
void decode_nvfp4(bytes in, float* out) {
  for (unsigned g = 0; g < 4; ++g) put_levels(half_e4m3(in[g]), in + 4 + 8 * g, 8, levels_e2m1, out + 16 * g);
}

// 256 weights −1, 0, 1: five in a byte, as the digits to base 3 of a fraction of 256; the last four bytes hold four.
void decode_tq1_0(bytes in, float* out) {
  float const d = half_at(in + 52);
  auto const put = [&](bytes from, unsigned count, unsigned digits, float* to) {
    unsigned power = 1;
    for (unsigned k = 0; k < digits; ++k, power *= 3)
      for (unsigned i = 0; i < count; ++i)
        to[k * count + i] = d * (static_cast<float>((from[i] * power & 255U) * 3U >> 8U) - 1.0F);
  };
  put(in, 32, 5, out);
  put(in + 32, 16, 5, out + 160);
  put(in + 48, 4, 4, out + 240);
}

// 256 weights of two bits, −1 to 2.
void decode_tq2_0(bytes in, float* out) {
  float const d = half_at(in + 64);
  for (unsigned i = 0; i < 256; ++i)
    out[i] = d * (static_cast<float>(in[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3U) - 1.0F);
}

// 128 signs: +d where the bit is set.
void decode_q1_0(bytes in, float* out) {
  float const d = half_at(in);
  for (unsigned i = 0; i < 128; ++i) out[i] = (in[2 + i / 8] >> (i % 8) & 1U) != 0 ? d : -d;
}

// 64 weights of two bits, −1 to 2.
void decode_q2_0(bytes in, float* out) {
  float const d = half_at(in);
  for (unsigned i = 0; i < 64; ++i) out[i] = d * (static_cast<float>(in[2 + i / 4] >> 2 * (i % 4) & 3U) - 1.0F);
}
}  // namespace kedge::llm
