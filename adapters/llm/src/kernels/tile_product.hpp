// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "product.hpp"

// Products by matrix units: operands rounded to bf16, sums in fp32. The units multiply tiles of 16 rows by 32 terms with tiles of 16 pairs of
// terms by 16 columns; four sums of 16 by 16 share two tiles of each. Without matrix units there is no such kernel: vector instructions for
// bf16 alone have half the rate of fp32 multiply-adds.

#if defined(KEDGE_ISA)
#include "vector.hpp"

#if defined(__AMX_BF16__)
#include <immintrin.h>

#include <cstdlib>

namespace kedge::llm::KEDGE_ISA {
namespace tile_product {

constexpr std::size_t side = 16, terms = 32;              // of a tile: rows or columns, and terms of a sum
constexpr std::size_t tile_words = side * side;           // of 32 bits, two terms each
constexpr std::size_t block = 2 * side;                   // rows and columns that are computed together
constexpr std::size_t depth = 1024, near_rows = 256;      // packed rows: half a megabyte

// What the units are told of their tiles: 16 rows of 64 bytes, all of them.
struct alignas(64) configuration {
  std::uint8_t palette = 1, start_row = 0, unused[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Two neighbouring terms of 16 lines, from where terms lie together in a line: line i's first 32 terms are word 0 … 15 of vector i.
template <class Element>
KEDGE_INLINE words pairs_along(Element const* from, std::size_t count) {
  std::uint16_t narrow[terms] = {};
  auto const half = [&](std::size_t at) __attribute__((always_inline)) {
    if (count <= at) return;
    if (count - at >= lanes)
      store(narrow + at, bits(from + at));
    else
      store(narrow + at, bits(from + at, first(count - at)));
  };
  half(0);
  half(lanes);
  words all;
  __builtin_memcpy(&all, narrow, sizeof all);
  return all;
}

// The same from where the lines' equal terms lie together: terms k and k + 1 of 16 lines.
template <class Element>
KEDGE_INLINE words pairs_across(Element const* from, std::size_t term_stride, std::size_t lines, std::size_t left) {
  part const some = first(lines);
  words const low = bits(from, some), high = left > 1 ? bits(from + term_stride, some) : words{};
  return low | (high << 16);
}

// Tiles of 16 lines of a matrix, all their terms: [terms / 32][16][16] words. By lines, a tile's row is a line's 16 pairs of terms; by
// terms, it is a pair's 16 lines.
template <bool ByLines, class Element>
void pack_lines(Element const* from, std::size_t line_stride, std::size_t term_stride, std::size_t lines, std::size_t count, std::uint32_t* to) {
  for (std::size_t k = 0; k < count; k += terms, to += tile_words) {
    floats x[side];
    bool const along = term_stride == 1;
    std::size_t const left = count - k;
    if (along) {
#pragma GCC unroll 16
      for (std::size_t i = 0; i < side; ++i) x[i] = i < lines ? floats(pairs_along(from + i * line_stride + k, left)) : zero();
    } else {
#pragma GCC unroll 16
      for (std::size_t i = 0; i < side; ++i)
        x[i] = 2 * i < left ? floats(pairs_across(from + (k + 2 * i) * term_stride, term_stride, lines, left - 2 * i)) : zero();
    }
    if (along != ByLines) transpose(x);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < side; ++i) store(reinterpret_cast<float*>(to) + i * side, x[i]);
  }
}

// Lines of any number, 16 to a strip of tiles; strips come in pairs, zeros where there are no lines.
template <bool ByLines, class Element>
void pack(Element const* from, std::size_t line_stride, std::size_t term_stride, std::size_t lines, std::size_t count, std::uint32_t* to) {
  std::size_t const strip = (count + terms - 1) / terms * tile_words;
  for (std::size_t i = 0; i < lines; i += block)
    for (std::size_t j = i; j < i + block; j += side, to += strip) {
      if (j < lines)
        pack_lines<ByLines>(from + j * line_stride, line_stride, term_stride, smaller(side, lines - j), count, to);
      else
        __builtin_memset(to, 0, strip * sizeof *to);
    }
}

// A thread's memory for packed rows, a packed panel of columns, and sums.
struct memory {
  std::uint32_t* at = static_cast<std::uint32_t*>(std::aligned_alloc(4096, ((near_rows + block) * depth / 2 + block * block) * sizeof(std::uint32_t)));
  ~memory() { std::free(at); }
};

template <class A, class B>
void multiply_tiles(matrix_product const& p) {
  thread_local memory const own;
  std::uint32_t* const rows_at = own.at;
  std::uint32_t* const panel = rows_at + near_rows * depth / 2;
  auto* const sums = reinterpret_cast<float*>(panel + block * depth / 2);
  configuration const tiles;
  _tile_loadconfig(&tiles);
  std::size_t const depths = (p.k + depth - 1) / depth, each_depth = ((p.k + depths - 1) / depths + terms - 1) / terms * terms;
  auto const* const a = static_cast<A const*>(p.a.data);
  auto const* const b = static_cast<B const*>(p.b.data);
  for (std::size_t k0 = 0; k0 < p.k; k0 += each_depth) {
    std::size_t const k1 = smaller(p.k, k0 + each_depth), steps = (k1 - k0 + terms - 1) / terms, strip = steps * tile_words;
    float const* const onto = k0 > 0 ? p.c : p.onto;
    for (std::size_t m0 = 0; m0 < p.m; m0 += near_rows) {
      std::size_t const rows = smaller(near_rows, p.m - m0);
      pack<true>(a + m0 * p.a.row + k0 * p.a.column, p.a.row, p.a.column, rows, k1 - k0, rows_at);
      for (std::size_t n0 = 0; n0 < p.n; n0 += block) {
        std::size_t const columns = smaller(block, p.n - n0);
        pack<false>(b + k0 * p.b.row + n0 * p.b.column, p.b.column, p.b.row, columns, k1 - k0, panel);
        for (std::size_t r = 0; r < rows; r += block) {
          std::uint32_t const *x = rows_at + r / side * strip, *y = panel;
          _tile_zero(0);
          _tile_zero(1);
          _tile_zero(2);
          _tile_zero(3);
          for (std::size_t s = 0; s < steps; ++s, x += tile_words, y += tile_words) {
            _tile_loadd(4, x, 64);
            _tile_loadd(6, y, 64);
            _tile_loadd(5, x + strip, 64);
            _tile_loadd(7, y + strip, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          }
          _tile_stored(0, sums, block * 4);
          _tile_stored(1, sums + side, block * 4);
          _tile_stored(2, sums + side * block, block * 4);
          _tile_stored(3, sums + side * block + side, block * 4);
          std::size_t const at = (m0 + r) * p.c_row + n0;
          product::copy_edge(sums, block, smaller(block, rows - r), columns, onto ? onto + at : nullptr, p.c + at, p.c_row);
        }
      }
    }
  }
  _tile_release();
}

inline void multiply(matrix_product const& p) {
  if (p.a.bf16)
    p.b.bf16 ? multiply_tiles<std::uint16_t, std::uint16_t>(p) : multiply_tiles<std::uint16_t, float>(p);
  else
    p.b.bf16 ? multiply_tiles<float, std::uint16_t>(p) : multiply_tiles<float, float>(p);
}

inline constexpr void (*kernel)(matrix_product const&) = multiply;

}  // namespace tile_product
}  // namespace kedge::llm::KEDGE_ISA
#else
namespace kedge::llm::KEDGE_ISA {
namespace tile_product {

inline constexpr void (*kernel)(matrix_product const&) = nullptr;

}  // namespace tile_product
}  // namespace kedge::llm::KEDGE_ISA
#endif
#endif
