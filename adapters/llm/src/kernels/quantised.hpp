// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// How the numbers of a row lie in blocks. The names are ggml's; `other` is any block that a function decodes alone. Of bitsandbytes: `table` has 4 bits
/// a number, the even one above, which say a number of a table of 16, and a scale for each 64 numbers of the matrix; `int8` has a scale for each row.
/// f32 and bf16 are plain numbers, which stand beside quantised ones.
enum class row_format : std::uint8_t { other, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k, table, int8, f32, bf16 };

/// Scales of `table`: themselves, or in 8 bits, codes of a table of 256 with a scale for each 256 of them and an offset of all (double quantisation).
struct block_scales {
  float const* plain = nullptr;
  std::uint8_t const* codes = nullptr;
  float const* table = nullptr;   ///< [256]
  float const* scales = nullptr;
  float offset = 0;
};

/// A matrix of quantised numbers, by rows.
struct quantised_rows {
  row_format format = row_format::other;
  std::uint8_t const* data = nullptr;
  std::size_t row_bytes = 0;      ///< from row to row
  std::size_t in = 0;             ///< numbers of a row
  std::size_t first_row = 0;      ///< what row 0 is called in the file
  std::size_t head_rows = 0;      ///< rows of a head whose rotary pairs are neighbours in the file, where halves are wanted; 0: rows in order
  std::size_t block_elements = 0, block_bytes = 0;             ///< of `other`
  void (*decode)(std::uint8_t const* block, float* out) = nullptr;  ///< of `other`
  float const* pairs = nullptr;   ///< of `table`: what a byte says, [256][2]
  block_scales scales{};          ///< of `table` and int8
};

/// The place of a row in the file.
constexpr std::size_t place_of_row(quantised_rows const& m, std::size_t row) {
  row += m.first_row;
  if (m.head_rows == 0) return row;
  std::size_t const within = row % m.head_rows, pairs = m.head_rows / 2;
  return row - within + 2 * (within % pairs) + within / pairs;
}

struct quantised_kernels {
  /// Numbers first … first + count − 1 of a row in fp32, as the format's own decoder gives them, bit for bit; scales in 8 bits to an ulp.
  void (*dequantise)(quantised_rows const& m, std::size_t row, std::size_t first, std::size_t count, float* out);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace quantised {

using bytes_at = std::uint8_t const*;

// Numbers that are decoded together: of larger blocks any 32 can be decoded alone.
constexpr std::size_t unit = 32;

KEDGE_INLINE float half_at(bytes_at at) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, at, sizeof bits);
  std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16, exponent = bits >> 10 & 31U, mantissa = bits & 0x3ffU;
  if (exponent == 0) {
    float const tiny = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -tiny : tiny;
  }
  std::uint32_t const wide = sign | (exponent == 31 ? 255U : exponent + 112U) << 23 | mantissa << 13;
  float x;
  __builtin_memcpy(&x, &wide, sizeof x);
  return x;
}

KEDGE_INLINE floats as_floats(words x) { return __builtin_convertvector(ints(x), floats); }
KEDGE_INLINE floats as_signed(words bytes) { return __builtin_convertvector(ints(bytes << 24) >> 24, floats); }

// f(i) for i = 0, lanes, … below N.
template <std::size_t N, class F>
KEDGE_INLINE void stride(F const& f) {
#pragma GCC unroll 8
  for (std::size_t i = 0; i < N; i += lanes) f(i);
}

// out[i] = scale q(i) + shift for 16 numbers.
template <class Quants>
KEDGE_INLINE void scaled_16(float* out, float scale, float shift, Quants const& quants) {
  floats const step = broadcast(scale), start = broadcast(shift);
  stride<16>([&](std::size_t i) __attribute__((always_inline)) { store(out + i, fma(step, as_floats(quants(i)), start)); });
}
// out[i] = scale (q(i) − shift): both factors are exact, so that one rounding of the sum is none of theirs.
template <class Quants>
KEDGE_INLINE void centred_16(float* out, float scale, float shift, Quants const& quants) {
  floats const step = broadcast(scale), middle = broadcast(shift);
  stride<16>([&](std::size_t i) __attribute__((always_inline)) { store(out + i, step * (as_floats(quants(i)) - middle)); });
}

// The bits of a word from `first` on, one a lane.
KEDGE_INLINE words bits_from(std::uint32_t word, std::size_t first) {
  alignas(64) static constexpr std::uint32_t order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (broadcast(word >> first) >> loaded<words>(order)) & 1U;
}

KEDGE_INLINE void unit_q4_0(bytes_at in, std::size_t, float* out) {
  float const d = half_at(in);
  centred_16(out, d, 8, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 2 + i) & 15U; });
  centred_16(out + 16, d, 8, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 2 + i) >> 4; });
}

KEDGE_INLINE void unit_q4_1(bytes_at in, std::size_t, float* out) {
  float const d = half_at(in), m = half_at(in + 2);
  scaled_16(out, d, m, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 4 + i) & 15U; });
  scaled_16(out + 16, d, m, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 4 + i) >> 4; });
}

KEDGE_INLINE void unit_q5_0(bytes_at in, std::size_t, float* out) {
  float const d = half_at(in);
  std::uint32_t high;
  __builtin_memcpy(&high, in + 2, sizeof high);
  centred_16(out, d, 16, [&](std::size_t i) __attribute__((always_inline)) { return (load(in + 6 + i) & 15U) | bits_from(high, i) << 4; });
  centred_16(out + 16, d, 16, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 6 + i) >> 4 | bits_from(high, 16 + i) << 4; });
}

KEDGE_INLINE void unit_q5_1(bytes_at in, std::size_t, float* out) {
  float const d = half_at(in), m = half_at(in + 2);
  std::uint32_t high;
  __builtin_memcpy(&high, in + 4, sizeof high);
  scaled_16(out, d, m, [&](std::size_t i) __attribute__((always_inline)) { return (load(in + 8 + i) & 15U) | bits_from(high, i) << 4; });
  scaled_16(out + 16, d, m, [&](std::size_t i) __attribute__((always_inline)) { return load(in + 8 + i) >> 4 | bits_from(high, 16 + i) << 4; });
}

KEDGE_INLINE void unit_q8_0(bytes_at in, std::size_t, float* out) {
  floats const d = broadcast(half_at(in));
  stride<unit>([&](std::size_t i) __attribute__((always_inline)) { store(out + i, d * as_signed(load(in + 2 + i))); });
}

// Of 256 numbers; formats/gguf_blocks.cpp says how they lie. Two groups of 16, each with a scale of its own.
KEDGE_INLINE void unit_q2_k(bytes_at in, std::size_t u, float* out) {
  float const d = half_at(in + 80), m = half_at(in + 82);
  for (std::size_t g = 0; g < 2; ++g) {
    unsigned const scale = in[2 * u + g];
    bytes_at const quants = in + 16 + 32 * (u / 4) + 16 * g;
    scaled_16(out + 16 * g, d * static_cast<float>(scale & 15U), -(m * static_cast<float>(scale >> 4)),
              [&](std::size_t i) __attribute__((always_inline)) { return load(quants + i) >> static_cast<unsigned>(2 * (u % 4)) & 3U; });
  }
}

KEDGE_INLINE void unit_q3_k(bytes_at in, std::size_t u, float* out) {
  float const d = half_at(in + 108);
  bytes_at const packed = in + 96;
  for (std::size_t g = 0; g < 2; ++g) {
    std::size_t const s = 2 * u + g;
    unsigned const low = s < 8 ? packed[s] & 15U : packed[s - 8] >> 4U, up = packed[8 + s % 4] >> (2 * (s / 4)) & 3U;
    float const scale = d * static_cast<float>(static_cast<int>(low | up << 4) - 32);
    bytes_at const high = in + 16 * g, quants = in + 32 + 32 * (u / 4) + 16 * g;
    centred_16(out + 16 * g, scale, 4, [&](std::size_t i) __attribute__((always_inline)) {
      return (load(quants + i) >> static_cast<unsigned>(2 * (u % 4)) & 3U) | (load(high + i) >> static_cast<unsigned>(u) & 1U) << 2;
    });
  }
}

struct step_and_minimum {
  float step, minimum;
};
KEDGE_INLINE step_and_minimum group_of_k(bytes_at in, std::size_t g) {
  bytes_at const packed = in + 4;
  unsigned const scale = g < 4 ? packed[g] & 63U : (packed[g + 4] & 15U) | packed[g - 4] >> 6U << 4U;
  unsigned const minimum = g < 4 ? packed[g + 4] & 63U : packed[g + 4] >> 4U | packed[g] >> 6U << 4U;
  return {half_at(in) * static_cast<float>(scale), -(half_at(in + 2) * static_cast<float>(minimum))};
}

KEDGE_INLINE void unit_q4_k(bytes_at in, std::size_t u, float* out) {
  auto const [step, minimum] = group_of_k(in, u);
  bytes_at const quants = in + 16 + 32 * (u / 2);
  unsigned const shift = 4 * (u % 2);
  for (std::size_t half = 0; half < unit; half += 16)
    scaled_16(out + half, step, minimum, [&](std::size_t i) __attribute__((always_inline)) { return load(quants + half + i) >> shift & 15U; });
}

KEDGE_INLINE void unit_q5_k(bytes_at in, std::size_t u, float* out) {
  auto const [step, minimum] = group_of_k(in, u);
  bytes_at const high = in + 16, quants = in + 48 + 32 * (u / 2);
  unsigned const shift = 4 * (u % 2), bit = static_cast<unsigned>(u);
  for (std::size_t half = 0; half < unit; half += 16)
    scaled_16(out + half, step, minimum, [&](std::size_t i) __attribute__((always_inline)) {
      return (load(quants + half + i) >> shift & 15U) | (load(high + half + i) >> bit & 1U) << 4;
    });
}

KEDGE_INLINE void unit_q6_k(bytes_at in, std::size_t u, float* out) {
  float const d = half_at(in + 208);
  std::size_t const chunk = u / 4, plane = u % 4;
  bytes_at const low = in + 64 * chunk + 32 * (plane % 2), high = in + 128 + 32 * chunk;
  auto const shift = static_cast<unsigned>(4 * (plane / 2)), up = static_cast<unsigned>(2 * plane);
  for (std::size_t g = 0; g < 2; ++g) {
    float const scale = d * static_cast<float>(static_cast<std::int8_t>(in[192 + 2 * u + g]));
    centred_16(out + 16 * g, scale, 32, [&](std::size_t i) __attribute__((always_inline)) {
      return (load(low + 16 * g + i) >> shift & 15U) | (load(high + 16 * g + i) >> up & 3U) << 4;
    });
  }
}

// Numbers first … of a row of blocks of as many units, each block of so many bytes.
template <std::size_t Units, std::size_t Bytes, class Unit>
KEDGE_INLINE void by_units(bytes_at row, std::size_t first, std::size_t count, float* out, Unit const& decode) {
  for (std::size_t const end = first + count; first < end;) {
    std::size_t const u = first / unit, within = first % unit, n = smaller(unit - within, end - first);
    bytes_at const block = row + u / Units * Bytes;
    if (n == unit) {
      decode(block, u % Units, out);
    } else {
      float all[unit];
      decode(block, u % Units, all);
      for (std::size_t i = 0; i < n; ++i) out[i] = all[within + i];
    }
    first += n;
    out += n;
  }
}

inline void by_blocks(quantised_rows const& m, bytes_at row, std::size_t first, std::size_t count, float* out) {
  constexpr std::size_t largest_block = 256;
  std::size_t const size = m.block_elements;
  for (std::size_t const end = first + count; first < end;) {
    std::size_t const within = first % size, n = smaller(size - within, end - first);
    bytes_at const block = row + first / size * m.block_bytes;
    if (n == size) {
      m.decode(block, out);
    } else {
      float all[largest_block];
      m.decode(block, all);
      for (std::size_t i = 0; i < n; ++i) out[i] = all[within + i];
    }
    first += n;
    out += n;
  }
}

KEDGE_INLINE float scale_of(block_scales const& s, std::size_t block) {
  constexpr std::size_t together = 256;
  return s.plain ? s.plain[block] : s.table[s.codes[block]] * s.scales[block / together] + s.offset;
}

// Blocks of 64 run on from row to row.
inline void by_table(quantised_rows const& m, std::size_t at, std::size_t count, float* out) {
  constexpr std::size_t block = 64;
  for (std::size_t const end = at + count; at < end;) {
    std::size_t const n = smaller(block - at % block, end - at);
    floats const scale = broadcast(scale_of(m.scales, at / block));
    std::size_t i = 0;
    if (at % 2 == 1) out[i++] = m.pairs[2 * m.data[at / 2] + 1];
    for (; i + 2 <= n; i += 2) __builtin_memcpy(out + i, m.pairs + 2 * m.data[(at + i) / 2], 2 * sizeof(float));
    if (i < n) out[i] = m.pairs[2 * m.data[(at + i) / 2]];
    each(n, [&](std::size_t j, auto some) __attribute__((always_inline)) { store(out + j, load(out + j, some) * scale, some); });
    at += n;
    out += n;
  }
}

inline void by_int8(bytes_at row, float scale, std::size_t count, float* out) {
  floats const all = broadcast(scale);
  each(count, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, as_signed(load(row + i, some)) * all, some); });
}

template <class Element>
inline void by_numbers(bytes_at row, std::size_t first, std::size_t count, float* out) {
  auto const* const from = reinterpret_cast<Element const*>(row) + first;
  each(count, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, number(from + i, some), some); });
}

inline void dequantise(quantised_rows const& m, std::size_t row, std::size_t first, std::size_t count, float* out) {
  std::size_t const place = place_of_row(m, row);
  bytes_at const at = m.data + place * m.row_bytes;
  switch (m.format) {
    case row_format::other: return by_blocks(m, at, first, count, out);
    case row_format::q4_0: return by_units<1, 18>(at, first, count, out, unit_q4_0);
    case row_format::q4_1: return by_units<1, 20>(at, first, count, out, unit_q4_1);
    case row_format::q5_0: return by_units<1, 22>(at, first, count, out, unit_q5_0);
    case row_format::q5_1: return by_units<1, 24>(at, first, count, out, unit_q5_1);
    case row_format::q8_0: return by_units<1, 34>(at, first, count, out, unit_q8_0);
    case row_format::q2_k: return by_units<8, 84>(at, first, count, out, unit_q2_k);
    case row_format::q3_k: return by_units<8, 110>(at, first, count, out, unit_q3_k);
    case row_format::q4_k: return by_units<8, 144>(at, first, count, out, unit_q4_k);
    case row_format::q5_k: return by_units<8, 176>(at, first, count, out, unit_q5_k);
    case row_format::q6_k: return by_units<8, 210>(at, first, count, out, unit_q6_k);
    case row_format::table: return by_table(m, place * m.in + first, count, out);
    case row_format::int8: return by_int8(at + first, m.scales.plain[place], count, out);
    case row_format::f32: return by_numbers<float>(at, first, count, out);
    case row_format::bf16: return by_numbers<std::uint16_t>(at, first, count, out);
  }
}

inline constexpr quantised_kernels table{dequantise};

}  // namespace quantised
}  // namespace kedge::llm::KEDGE_ISA
#endif
