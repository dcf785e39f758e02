// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decode.hpp"
#include "product.hpp"
#include "quantised.hpp"
#include "tile_product.hpp"

// Products with a matrix that stays quantised: pieces of it become fp32 in a cache, are packed from there, and are gone.

namespace kedge::llm {

/// C = A Wᵀ or A W, or the same added to `onto`; W quantised, [out, in], or a part of it.
struct quantised_product {
  matrix_view a;
  quantised_rows const* w;
  std::size_t first_out, first_in;  ///< where the part begins
  bool transposed;                  ///< A Wᵀ: columns of C are W's rows; else they are W's columns
  float const* onto;                ///< as in matrix_product, and so is what follows
  float* c;
  std::size_t c_row;
  std::size_t m, n, k;
};

/// Outputs of a panel of decode_kernels::multiply that are rows of matrices, at most panel_width of them.
struct panel_of_rows {
  struct place {
    quantised_rows const* of;
    std::size_t row;
  };
  place const* places;
  std::size_t count, in;
};

struct quantised_product_kernels {
  /// One thread's share. The bits are those of product_kernels::multiply with the matrix in fp32.
  void (*multiply)(quantised_product const&);
  void (*multiply_by_tiles)(quantised_product const&);  ///< those of kernel_table::tile_product; null without matrix units
  std::size_t columns;                                  ///< a multiple of which is best cut
  /// A panel in fp32, [in][panel_width], zeros behind the last output.
  void (*decode_panel)(panel_of_rows const& rows, float* out);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include <cstdlib>

namespace kedge::llm::KEDGE_ISA {
namespace quantised_product_of {

// Of fp32: a megabyte, half of a second-level cache.
constexpr std::size_t numbers_at_once = 256 * 1024;

inline float* piece_memory() {
  struct memory {
    float* at = static_cast<float*>(std::aligned_alloc(4096, numbers_at_once * sizeof(float)));
    ~memory() { std::free(at); }
  };
  thread_local memory const own;
  return own.at;
}

// Numbers k0 … and n0 … of the right factor, as they lie in W.
inline matrix_view dequantised(quantised_product const& p, std::size_t k0, std::size_t depth, std::size_t n0, std::size_t columns, float* to) {
  std::size_t const rows = p.transposed ? columns : depth, width = p.transposed ? depth : columns;
  std::size_t const out = p.first_out + (p.transposed ? n0 : k0), in = p.first_in + (p.transposed ? k0 : n0);
  for (std::size_t r = 0; r < rows; ++r) quantised::dequantise(*p.w, out + r, in, width, to + r * width);
  return {to, p.transposed ? 1 : width, p.transposed ? width : 1, false};
}

// Cut where `multiply` cuts the depth, so that every sum is added up as there.
template <class Depth>
void by_pieces(quantised_product const& p, std::size_t most_depth, Depth const& begin_of, void (*multiply)(matrix_product const&)) {
  float* const memory = piece_memory();
  std::size_t const tile = tile_vectors * lanes * 2, depths = (p.k + most_depth - 1) / most_depth;
  for (std::size_t d = 0; d < depths; ++d) {
    std::size_t const k0 = begin_of(d, depths), depth = begin_of(d + 1, depths) - k0;
    if (depth == 0) continue;
    std::size_t const at_once = numbers_at_once / depth / tile * tile;
    auto const* const a = static_cast<char const*>(p.a.data) + k0 * p.a.column * (p.a.bf16 ? 2 : 4);
    float const* const onto = d > 0 ? p.c : p.onto;
    for (std::size_t n0 = 0; n0 < p.n; n0 += at_once) {
      std::size_t const columns = smaller(at_once, p.n - n0);
      matrix_view const b = dequantised(p, k0, depth, n0, columns, memory);
      multiply({{a, p.a.row, p.a.column, p.a.bf16}, b, onto ? onto + n0 : nullptr, p.c + n0, p.c_row, p.m, columns, depth});
    }
  }
}

inline void multiply(quantised_product const& p) {
  by_pieces(p, tile_depth, [&](std::size_t d, std::size_t depths) { return p.k * d / depths; }, product::multiply_any);
}

#if defined(__AMX_BF16__)
inline void multiply_by_tiles(quantised_product const& p) {
  constexpr std::size_t terms = tile_product::terms;
  by_pieces(p, tile_product::depth,
            [&](std::size_t d, std::size_t depths) { return smaller(p.k, d * (((p.k + depths - 1) / depths + terms - 1) / terms * terms)); },
            tile_product::multiply);
}
inline constexpr void (*by_tiles)(quantised_product const&) = multiply_by_tiles;
#else
inline constexpr void (*by_tiles)(quantised_product const&) = nullptr;
#endif

inline void decode_panel(panel_of_rows const& rows, float* out) {
  constexpr std::size_t width = decode::panel_width, at_once = 256;
  float numbers[width * at_once];
  for (std::size_t k = 0; k < rows.in; k += at_once) {
    std::size_t const n = smaller(at_once, rows.in - k);
    for (std::size_t j = 0; j < rows.count; ++j) quantised::dequantise(*rows.places[j].of, rows.places[j].row, k, n, numbers + j * at_once);
    for (std::size_t j = 0; j < width; j += lanes)
      product::pack_across(numbers + j * at_once, at_once, rows.count > j ? smaller(lanes, rows.count - j) : 0, n, out + k * width + j, width);
  }
}

inline constexpr quantised_product_kernels table{multiply, by_tiles, tile_vectors * lanes, decode_panel};

}  // namespace quantised_product_of
}  // namespace kedge::llm::KEDGE_ISA
#endif
