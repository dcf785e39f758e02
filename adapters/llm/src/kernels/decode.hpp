// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Positions whose keys and values lie together in a page, and the numbers that head sizes are multiples of.
inline constexpr std::size_t page_positions = 16;

/// What becomes of the products of a panel.
enum class panel_end {
  store,    ///< y = x Wᵀ
  add,      ///< y += x Wᵀ
  swiglu,   ///< y = silu(first half) ∘ second half; as many outputs as a half has
};

/// x Wᵀ for one panel of W: as many outputs as decode_kernels::panel_width lie together, [in][panel_width], an element bf16 or fp32. In bf16 a
/// 32-bit word holds output j below and that of the second half above, so that a shift and a mask widen them. Every output is summed in the
/// order of `in`: it does not depend on the other rows.
struct panel_product {
  float const* x;       ///< [rows, in], x_stride numbers apart
  std::size_t x_stride, rows, in;
  void const* panel;
  float* y;             ///< [rows, columns], y_stride numbers apart
  std::size_t y_stride, columns;
  panel_end end;
  float* wide;          ///< scratch for bf16 weights of many rows, [in][panel_width]
  bool bf16;            ///< weights are bf16, and products are rounded to it, as are silu and its product
};

/// Attention of the query heads that share a key-value head, for one token.
struct grouped_attention {
  float const* q;             ///< [heads, d]
  std::size_t heads, d, keys; ///< d a multiple of page_positions
  void const* const* pages;   ///< of page_positions, fp32 or bf16: keys [d][page_positions], then values [page_positions][d]
  float* scores;              ///< scratch, [heads, keys rounded up to page_positions]
  float* out;                 ///< [heads, d]
  float scale;
  bool bf16;                  ///< pages are bf16, and the output is rounded to it
};

/// Steps of generation. Numbers that are bf16 by type are fp32 here, rounded where bf16 rounds.
struct decode_kernels {
  std::size_t panel_width;
  void (*multiply)(panel_product const&);
  void (*attend)(grouped_attention const&);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace decode {

constexpr std::size_t panel_width = 2 * lanes, most_rows = tile_sums / 2, page = page_positions;
constexpr std::uint32_t upper_half = 0xffff0000U;

KEDGE_INLINE floats silu(floats x) { return x * sigmoid(x); }

// Where the weights of a k come from. Widening costs two of 26 instructions that compete for the multipliers: the first block of rows
// leaves fp32 weights behind for the others.
enum class weights_from { fp32, bf16, bf16_and_keep };

// Terms that are summed in a row: the error of a sum grows with their number, so that sums of so many are added up.
constexpr std::size_t sum_depth = 256;

// acc[r] += x[r, k] · panel[k], k = k0 … k1 − 1. Rows are reached from every third one, which leaves registers for addresses.
// The panel behind this one is asked for meanwhile, a share of it for each block of rows: hardware stops at every 4 KiB.
// Inlined always: as a function of its own it would keep the sums in memory.
template <std::size_t Rows, weights_from From>
KEDGE_INLINE void accumulate(panel_product const& p, std::size_t begin, std::size_t k0, std::size_t k1, floats (&acc)[Rows][2]) {
  std::size_t const word = p.bf16 ? 2 : 4, panel_bytes = p.in * panel_width * word, ahead = panel_width * word * Rows / p.rows;
  char const* next = static_cast<char const*>(p.panel) + panel_bytes + panel_bytes * begin / p.rows + k0 * ahead;
  constexpr std::size_t bases = (Rows + 2) / 3;
  float const* base[bases];
  for (std::size_t i = 0; i < bases; ++i) base[i] = p.x + (begin + 3 * i) * p.x_stride;
  auto const* weights = (From == weights_from::fp32 && p.bf16 ? p.wide : static_cast<float const*>(p.panel)) + k0 * (From == weights_from::fp32 ? 2 : 1) * lanes;
  float* wide = p.wide + k0 * panel_width;
  for (std::size_t k = k0; k < k1; ++k) {
    floats low, high;
    __builtin_prefetch(next, 0, 2);
    next += ahead;
    if constexpr (From == weights_from::fp32) {
      low = load(weights);
      high = load(weights + lanes);
      weights += 2 * lanes;
    } else {
      words const both = words(load(weights));
      low = widened(both);
      high = floats(both & upper_half);
      weights += lanes;
    }
    if constexpr (From == weights_from::bf16_and_keep) {
      store(wide, low);
      store(wide + lanes, high);
      wide += 2 * lanes;
    }
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) {
      floats const a = broadcast(base[r / 3][(r % 3) * p.x_stride + k]);
      acc[r][0] = fma(a, low, acc[r][0]);
      acc[r][1] = fma(a, high, acc[r][1]);
    }
  }
}

// Outputs of a row that fill the panel.
template <bool Bf16>
KEDGE_INLINE void finish(panel_end end, floats a, floats b, float* y) {
  a = rounded<Bf16>(a);
  b = rounded<Bf16>(b);
  if (end == panel_end::swiglu) return store(y, rounded<Bf16>(rounded<Bf16>(silu(a)) * b));
  store(y, end == panel_end::add ? load(y) + a : a);
  store(y + lanes, end == panel_end::add ? load(y + lanes) + b : b);
}

template <std::size_t Rows, bool Bf16, weights_from From>
void multiply_rows(panel_product const& p, std::size_t begin) {
  floats sums[Rows][2] = {};
  for (std::size_t k = 0; k < p.in; k += sum_depth) {
    floats acc[Rows][2];
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) acc[r][0] = acc[r][1] = zero();
    accumulate<Rows, From>(p, begin, k, smaller(p.in, k + sum_depth), acc);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) {
      sums[r][0] += acc[r][0];
      sums[r][1] += acc[r][1];
    }
  }
  float* const y = p.y + begin * p.y_stride;
  if (p.columns == (p.end == panel_end::swiglu ? lanes : panel_width)) {
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) finish<Bf16>(p.end, sums[r][0], sums[r][1], y + r * p.y_stride);
    return;
  }
  float edge[Rows][panel_width] = {};  // of the last panel: the outputs that there are go through memory
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t j = 0; j < p.columns; ++j) edge[r][j] = y[r * p.y_stride + j];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r) finish<Bf16>(p.end, sums[r][0], sums[r][1], edge[r]);
  for (std::size_t r = 0; r < Rows; ++r)
    for (std::size_t j = 0; j < p.columns; ++j) y[r * p.y_stride + j] = edge[r][j];
}

template <bool Bf16, weights_from From, std::size_t Rows>
void multiply_up_to(panel_product const& p, std::size_t begin, std::size_t rows) {
  if (rows == Rows) return multiply_rows<Rows, Bf16, From>(p, begin);
  if constexpr (Rows > 1) multiply_up_to<Bf16, From, Rows - 1>(p, begin, rows);
}

// Blocks of rows as equal as can be: 13 rows are 7 and 6, not 12 and 1.
template <bool Bf16>
void multiply_all(panel_product const& p) {
  using enum weights_from;
  std::size_t const blocks = (p.rows + most_rows - 1) / most_rows;
  for (std::size_t b = 0; b < blocks; ++b) {
    std::size_t const begin = p.rows * b / blocks, rows = p.rows * (b + 1) / blocks - begin;
    if constexpr (Bf16) {
      if (blocks == 1) return multiply_up_to<true, bf16, most_rows>(p, begin, rows);
      if (b == 0) {
        multiply_up_to<true, bf16_and_keep, most_rows>(p, begin, rows);
        continue;
      }
    }
    multiply_up_to<Bf16, fp32, most_rows>(p, begin, rows);
  }
}

inline void multiply(panel_product const& p) { p.bf16 ? multiply_all<true>(p) : multiply_all<false>(p); }

// Numbers of pages as they lie in memory.
template <bool Bf16>
KEDGE_INLINE floats page_number(void const* at, std::size_t index) {
  if constexpr (Bf16) return number(static_cast<std::uint16_t const*>(at) + index);
  return number(static_cast<float const*>(at) + index);
}

// Scores of the keys of a page for Heads queries; two chains a head, since one would wait for itself.
template <std::size_t Heads, bool Bf16>
void score_page(grouped_attention const& a, std::size_t first_head, std::size_t index, std::size_t stride) {
  float const* const q = a.q + first_head * a.d;
  // A page is read once a step and has left the caches since: this one's values and the next one's keys are asked for meanwhile.
  constexpr std::size_t line = page * (Bf16 ? 2 : 4);
  auto const* values = static_cast<char const*>(a.pages[index]) + a.d * line;
  auto const* next = (index + 1) * page < a.keys ? static_cast<char const*>(a.pages[index + 1]) : values;
  for (std::size_t at = 0; at < page; at += lanes) {
    floats sums[Heads][2];
    for (auto& s : sums) s[0] = s[1] = zero();
    for (std::size_t i = 0; i < a.d; i += 2) {
      if (at == 0) {
        __builtin_prefetch(values + i * line);
        __builtin_prefetch(next + i * line);
        if constexpr (!Bf16) {
          __builtin_prefetch(values + (i + 1) * line);
          __builtin_prefetch(next + (i + 1) * line);
        }
      }
      for (std::size_t chain = 0; chain < 2; ++chain) {
        floats const keys = page_number<Bf16>(a.pages[index], (i + chain) * page + at);
#pragma GCC unroll 4
        for (std::size_t h = 0; h < Heads; ++h) sums[h][chain] = fma(broadcast(q[h * a.d + i + chain]), keys, sums[h][chain]);
      }
    }
    std::size_t const key = index * page + at;
    part const seen = first(a.keys > key ? a.keys - key : 0);
    for (std::size_t h = 0; h < Heads; ++h)
      store(a.scores + (first_head + h) * stride + key, keep((sums[h][0] + sums[h][1]) * a.scale, seen, broadcast(-__builtin_inff())));
  }
}

// Scores become probabilities, without their common factor, which is returned. n is a multiple of the lanes.
inline float soften(float* scores, std::size_t n) {
  floats const unseen = broadcast(-__builtin_inff());
  floats most = unseen;
  for (std::size_t i = 0; i < n; i += lanes) most = max(most, load(scores + i));
  float const shift = largest(most);
  floats total = zero();
  for (std::size_t i = 0; i < n; i += lanes) {
    floats const s = load(scores + i), p = s == unseen ? zero() : exp(s - shift);
    store(scores + i, p);
    total += p;
  }
  return 1 / sum(total);
}

// Values weighted by probabilities: lanes · Width numbers of Heads outputs.
template <std::size_t Heads, std::size_t Width, bool Bf16>
void weigh_values(grouped_attention const& a, std::size_t first_head, std::size_t at, std::size_t stride, float const* factors) {
  floats sums[Heads][Width];
  for (auto& head : sums)
    for (auto& s : head) s = zero();
  for (std::size_t j = 0; j < a.keys; ++j) {
    std::size_t const row = a.d * page + (j % page) * a.d + at;
    floats value[Width];
#pragma GCC unroll 4
    for (std::size_t w = 0; w < Width; ++w) value[w] = page_number<Bf16>(a.pages[j / page], row + w * lanes);
#pragma GCC unroll 4
    for (std::size_t h = 0; h < Heads; ++h) {
      floats const p = broadcast(a.scores[(first_head + h) * stride + j]);
#pragma GCC unroll 4
      for (std::size_t w = 0; w < Width; ++w) sums[h][w] = fma(p, value[w], sums[h][w]);
    }
  }
  for (std::size_t h = 0; h < Heads; ++h)
    for (std::size_t w = 0; w < Width; ++w) store(a.out + (first_head + h) * a.d + at + w * lanes, rounded<Bf16>(sums[h][w] * factors[h]));
}

template <std::size_t Heads, bool Bf16>
void attend_heads(grouped_attention const& a, std::size_t begin) {
  constexpr std::size_t width = tile_sums / 6;  // of four heads: two thirds of the sums' registers
  std::size_t const pages = (a.keys + page - 1) / page, stride = pages * page;
  for (std::size_t i = 0; i < pages; ++i) score_page<Heads, Bf16>(a, begin, i, stride);
  float factors[Heads];
  for (std::size_t h = 0; h < Heads; ++h) factors[h] = soften(a.scores + (begin + h) * stride, stride);
  std::size_t at = 0;
  for (; at + width * lanes <= a.d; at += width * lanes) weigh_values<Heads, width, Bf16>(a, begin, at, stride, factors);
  for (; at < a.d; at += lanes) weigh_values<Heads, 1, Bf16>(a, begin, at, stride, factors);
}

template <bool Bf16>
void attend_all(grouped_attention const& a) {
  std::size_t h = 0;
  for (; h + 4 <= a.heads; h += 4) attend_heads<4, Bf16>(a, h);
  for (; h + 3 <= a.heads; h += 3) attend_heads<3, Bf16>(a, h);
  for (; h < a.heads; ++h) attend_heads<1, Bf16>(a, h);
}

inline void attend(grouped_attention const& a) { a.bf16 ? attend_all<true>(a) : attend_all<false>(a); }

inline constexpr decode_kernels table{panel_width, multiply, attend};

}  // namespace decode
}  // namespace kedge::llm::KEDGE_ISA
#endif
