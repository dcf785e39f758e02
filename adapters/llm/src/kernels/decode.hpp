// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "gates.hpp"
#include "paged_attention.hpp"

namespace kedge::llm {

/// What becomes of the products of a panel, y = x Wᵀ + bias.
enum class panel_end {
  store,     ///< y
  add,       ///< added to what was there
  gate,      ///< f(first half of y) ∘ second half; as many outputs as a half has
  activate,  ///< f(y)
};

/// x Wᵀ for one panel of W: as many outputs as decode_kernels::panel_width lie together, [in][panel_width], an element bf16 or fp32. In bf16 a
/// 32-bit word holds output j below and that of the second half above, so that a shift and a mask widen them. Every output is summed in the
/// order of `in`: it does not depend on the other rows.
struct panel_product {
  float const* x;  ///< [rows, in], x_stride numbers apart
  std::size_t x_stride, rows, in;
  void const* panel;
  float* y;  ///< [rows, columns], y_stride numbers apart
  std::size_t y_stride, columns;
  panel_end end;
  float* wide;                                   ///< scratch for bf16 weights of many rows, [in][panel_width]
  bool bf16;                                     ///< weights are bf16, and products are rounded to it, as are f and its product
  float const* bias = nullptr;                   ///< [panel_width], or null
  gate_function function = gate_function::silu;  ///< of gate and activate
  bool decoded = false;                          ///< the panel is fp32 whatever the type is, and stands in `wide` too
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

constexpr std::size_t panel_width = 2 * lanes, most_rows = tile_sums / 2;
constexpr std::uint32_t upper_half = 0xffff0000U;

// Where the weights of a k come from. Widening costs two of 26 instructions that compete for the multipliers: the first block of rows
// leaves fp32 weights behind for the others.
enum class weights_from { fp32, bf16, bf16_and_keep };

// Terms that are summed in a row: the error of a sum grows with their number, so that sums of so many are added up.
constexpr std::size_t sum_depth = 256;

// acc[r] += x[r, k] · panel[k], k = k0 … k1 − 1. Rows are reached from every third one, which leaves registers for addresses.
// The panel behind this one is asked for meanwhile, a share of it for each block of rows: hardware stops at every 4 KiB.
// Inlined always: as a function of its own it would keep the sums in memory.
template <std::size_t Rows, weights_from From>
KEDGE_INLINE void accumulate(panel_product const& p, std::size_t begin, std::size_t k0, std::size_t k1,
                             floats (&acc)[Rows][2]) {
  std::size_t const word = p.bf16 ? 2 : 4, panel_bytes = p.in * panel_width * word, ahead = panel_width * word * Rows / p.rows;
  char const* next = static_cast<char const*>(p.panel) + panel_bytes + panel_bytes * begin / p.rows + k0 * ahead;
  constexpr std::size_t bases = (Rows + 2) / 3;
  float const* base[bases];
  for (std::size_t i = 0; i < bases; ++i) base[i] = p.x + (begin + 3 * i) * p.x_stride;
  auto const* weights = [&] {
    if constexpr (From == weights_from::fp32)
      return (p.bf16 ? p.wide : static_cast<float const*>(p.panel)) + k0 * panel_width;
    else
      return static_cast<std::uint16_t const*>(p.panel) + k0 * panel_width;
  }();
  float* wide = p.wide + k0 * panel_width;
#pragma GCC unroll 4  // counters and addresses compete with the multiply-adds
  for (std::size_t k = k0; k < k1; ++k) {
    floats low, high;
    __builtin_prefetch(next, 0, 2);
    next += ahead;
    if constexpr (From == weights_from::fp32) {
      low = load(weights);
      high = load(weights + lanes);
    } else {
      words const both = loaded<words>(weights);
      low = widened(both);
      high = floats(both & upper_half);
    }
    weights += panel_width;
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

// What becomes of a row's products of a panel, rounded already: y has p.columns numbers.
template <bool Bf16, gate_function F>
KEDGE_INLINE void finish_row(panel_product const& p, float const* products, float* y) {
  if (p.end == panel_end::gate)
    return each(p.columns, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const f = rounded<Bf16>(gate::value<F>(load(products + i, some)));
      store(y + i, rounded<Bf16>(f * load(products + lanes + i, some)), some);
    });
  each(p.columns, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const x = load(products + i, some);
    if (p.end == panel_end::add)
      store(y + i, load(y + i, some) + x, some);
    else
      store(y + i, p.end == panel_end::activate ? rounded<Bf16>(gate::value<F>(x)) : x, some);
  });
}

// products: [rows, panel_width].   One function for all numbers of rows.
template <bool Bf16>
[[gnu::noinline]] void finish_rows(panel_product const& p, float const* products, std::size_t rows, float* y) {
  with_gate(p.function, [&]<gate_function F>() {
    for (std::size_t r = 0; r < rows; ++r) finish_row<Bf16, F>(p, products + r * panel_width, y + r * p.y_stride);
  });
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
  floats const bias[2] = {p.bias ? load(p.bias) : zero(), p.bias ? load(p.bias + lanes) : zero()};
  float* const y = p.y + begin * p.y_stride;
  if (p.columns == panel_width && p.end <= panel_end::add) {
    bool const adds = p.end == panel_end::add;
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (std::size_t v = 0; v < 2; ++v) {
        float* const at = y + r * p.y_stride + v * lanes;
        floats const x = rounded<Bf16>(sums[r][v] + bias[v]);
        store(at, adds ? load(at) + x : x);
      }
    return;
  }
  float products[Rows][panel_width];  // what isn't stored as it is goes through memory
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (std::size_t v = 0; v < 2; ++v) store(&products[r][v * lanes], rounded<Bf16>(sums[r][v] + bias[v]));
  finish_rows<Bf16>(p, products[0], Rows, y);
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
    if (Bf16 && !p.decoded) {
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

inline constexpr decode_kernels table{panel_width, multiply, attend};

}  // namespace decode
}  // namespace kedge::llm::KEDGE_ISA
#endif
