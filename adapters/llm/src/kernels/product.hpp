// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Elements of a matrix that are read: element (i, j) lies at i · row + j · column; one of the two strides is 1.
struct matrix_view {
  void const* data;
  std::size_t row, column;
  bool bf16;
};

/// C = A B, or C = onto + A B, summed in fp32 whatever A and B are.   A: [m, k], B: [k, n], C and onto: [m, n], rows c_row apart
struct matrix_product {
  matrix_view a, b;
  float const* onto;  ///< may be c; null for a plain product
  float* c;
  std::size_t c_row;
  std::size_t m, n, k;
};

struct product_kernels {
  /// One thread's share of a product. Every output is summed in an order that depends on k alone, not on m, n, or where they are cut.
  void (*multiply)(matrix_product const&);
  /// Where a product is best cut: multiples of the tiles' rows and columns.
  std::size_t tile_rows, tile_columns;
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include <cstdlib>

#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace product {

// Of the depth, after which more of the next panel is asked for.
constexpr std::size_t fetch_every = 16;

// Asks for the numbers of the next panel of B while this one is multiplied: to wait for memory while packing would take longer than packing.
class upcoming_panel {
 public:
  // `lines` stretches of `bytes`, `stride` apart, to be fetched in `calls`
  upcoming_panel(char const* at, std::size_t lines, std::size_t stride, std::size_t bytes, std::size_t calls)
      : at_(at), left_(lines), each_(bytes / cache_line + 1), next_(each_), jump_(stride - each_ * cache_line), share_((lines * each_ + calls - 1) / calls) {}

  KEDGE_INLINE void fetch() {
    for (std::size_t i = 0; i < share_ && left_ > 0; ++i) {
      __builtin_prefetch(at_, 0, 2);
      at_ += cache_line;
      if (--next_ > 0) continue;
      next_ = each_;
      at_ += jump_;
      --left_;
    }
  }

 private:
  static constexpr std::size_t cache_line = 64;
  char const* at_;
  std::size_t left_, each_, next_, jump_, share_;
};

// Rows × Vectors · lanes outputs. a: element (r, k) at r · row + k · step; b: a panel [depth][Vectors · lanes].
template <std::size_t Vectors, std::size_t Rows>
void tile(float const* a, std::size_t row, std::size_t step, float const* b, std::size_t depth, float const* onto, float* c, std::size_t c_row,
          upcoming_panel& upcoming) {
  floats sums[Rows][Vectors];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = zero();
  for (std::size_t r = 0; r < Rows; ++r)  // what the sums will be written to comes from memory in the meantime
    for (std::size_t v = 0; v < Vectors; ++v) __builtin_prefetch(c + r * c_row + v * lanes, 1);
  if (onto && onto != c)
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t v = 0; v < Vectors; ++v) __builtin_prefetch(onto + r * c_row + v * lanes);
  constexpr std::size_t bases = (Rows + 2) / 3;  // rows are reached from every third one, which leaves registers for addresses
  float const* base[bases];
  for (std::size_t i = 0; i < bases; ++i) base[i] = a + 3 * i * row;
  for (std::size_t end = smaller(depth, fetch_every), k = 0; k < depth; end = smaller(depth, end + fetch_every)) {
    upcoming.fetch();
    for (; k < end; ++k) {
      floats y[Vectors];
#pragma GCC unroll 3
      for (std::size_t v = 0; v < Vectors; ++v) y[v] = load(b + v * lanes);
      b += Vectors * lanes;
#pragma GCC unroll 12
      for (std::size_t r = 0; r < Rows; ++r) {
        floats const x = broadcast(base[r / 3][(r % 3) * row]);
#pragma GCC unroll 3
        for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = fma(x, y[v], sums[r][v]);
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < bases; ++i) base[i] += step;
    }
  }
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < Vectors; ++v) {
      std::size_t const at = r * c_row + v * lanes;
      store(c + at, onto ? load(onto + at) + sums[r][v] : sums[r][v]);
    }
}

template <std::size_t Vectors, std::size_t Rows>
void tile_up_to(std::size_t rows, float const* a, std::size_t row, std::size_t step, float const* b, std::size_t depth, float const* onto, float* c,
                std::size_t c_row, upcoming_panel& upcoming) {
  if (rows == Rows) return tile<Vectors, Rows>(a, row, step, b, depth, onto, c, c_row, upcoming);
  if constexpr (Rows > 1) tile_up_to<Vectors, Rows - 1>(rows, a, row, step, b, depth, onto, c, c_row, upcoming);
}

// c = onto + tile, or tile: the first `rows` and `columns` of one that was computed beside c.
inline void copy_edge(float const* tile, std::size_t width, std::size_t rows, std::size_t columns, float const* onto, float* c, std::size_t c_row) {
  for (std::size_t r = 0; r < rows; ++r, tile += width, c += c_row)
    each(columns, [&](std::size_t j, auto some) __attribute__((always_inline)) {
      store(c + j, onto ? load(onto + r * c_row + j, some) + load(tile + j) : load(tile + j), some);
    });
}

// As many numbers next to each other as there are lanes, of `lines` lines, line_stride apart, become rows of `to`, [depth][width].
template <class Element>
void pack_across(Element const* from, std::size_t line_stride, std::size_t lines, std::size_t depth, float* to, std::size_t width) {
  each(depth, [&](std::size_t k, auto some) __attribute__((always_inline)) {
    floats x[lanes];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < lanes; ++i) x[i] = i < lines ? number(from + i * line_stride + k, some) : zero();
    transpose(x);
    std::size_t const rows = smaller(lanes, depth - k);
    for (std::size_t i = 0; i < rows; ++i) store(to + (k + i) * width, x[i]);
  });
}

// `columns` of `depth` rows of B, as fp32 [depth][Vectors · lanes], zeros behind the last column.
template <std::size_t Vectors, class Element>
void pack_panel(Element const* from, std::size_t row, std::size_t column, std::size_t depth, std::size_t columns, float* to) {
  if (column != 1) {
    for (std::size_t j = 0; j < Vectors * lanes; j += lanes)
      pack_across(from + j * column, column, columns > j ? smaller(lanes, columns - j) : 0, depth, to + j, Vectors * lanes);
    return;
  }
  for (std::size_t v = 0; v < Vectors; ++v) {
    part const some = first(columns > v * lanes ? columns - v * lanes : 0);
    bool const all = columns >= (v + 1) * lanes;
    for (std::size_t k = 0; k < depth; ++k) store(to + (k * Vectors + v) * lanes, all ? number(from + k * row + v * lanes) : number(from + k * row + v * lanes, some));
  }
}

// Rows of A as fp32: [rows][depth] where a row's numbers lie together, else strips [rows / Strip][depth][Strip].
template <std::size_t Strip, class Element>
void pack_rows(Element const* from, std::size_t row, std::size_t column, std::size_t rows, std::size_t depth, float* to) {
  if (column == 1) {
    for (std::size_t r = 0; r < rows; ++r)
      each(depth, [&](std::size_t k, auto some) __attribute__((always_inline)) { store(to + r * depth + k, number(from + r * row + k, some), some); });
    return;
  }
  constexpr std::size_t together = 8;  // columns of A at a time: few pages are read, and whole lines written
  for (std::size_t k0 = 0; k0 < depth; k0 += together)
    for (std::size_t r = 0; r < rows; r += Strip) {
      std::size_t const count = smaller(Strip, rows - r);
      for (std::size_t k = k0; k < smaller(depth, k0 + together); ++k)
#pragma GCC unroll 3
        for (std::size_t v = 0; v < Strip; v += lanes) {
          float* const at = to + r * depth + k * Strip + v;
          Element const* const numbers = from + k * column + r + v;
          if (r + v + lanes <= rows && k * Strip + v + lanes <= depth * Strip)  // what is too much is written over later
            store(at, number(numbers));
          else
            store(at, number(numbers, first(count > v ? count - v : 0)), first(Strip - v));
        }
    }
}

// A thread's memory for packed rows and a packed panel.
inline float* scratch() {
  struct memory {
    float* at = static_cast<float*>(std::aligned_alloc(4096, (near_numbers + tile_vectors * lanes * tile_depth) * sizeof(float)));
    ~memory() { std::free(at); }
  };
  thread_local memory const own;
  return own.at;
}

template <class Element>
Element const* element(matrix_view const& x, std::size_t i, std::size_t j) {
  return static_cast<Element const*>(x.data) + i * x.row + j * x.column;
}

// Columns of B from n0 on; none behind the last one.
template <class B>
upcoming_panel fetch_of(matrix_view const& b, std::size_t k0, std::size_t depth, std::size_t n0, std::size_t columns, std::size_t tiles) {
  if (columns == 0) return {nullptr, 0, 0, 0, 1};
  std::size_t const calls = tiles * ((depth + fetch_every - 1) / fetch_every);
  bool const across = b.column != 1;
  return {reinterpret_cast<char const*>(element<B>(b, k0, n0)), across ? columns : depth, (across ? b.column : b.row) * sizeof(B),
          (across ? depth : columns) * sizeof(B), calls};
}

template <std::size_t Vectors, class A, class B>
void multiply_by_panels(matrix_product const& p) {
  constexpr std::size_t width = Vectors * lanes, together = tile_sums / Vectors;  // columns and rows of a tile
  bool const pack_a = sizeof(A) == 2 || p.a.column != 1, strips = p.a.column != 1;
  std::size_t const depths = (p.k + tile_depth - 1) / tile_depth, most_rows = near_numbers / ((p.k + depths - 1) / depths) / together * together;
  std::size_t const blocks = (p.m + most_rows - 1) / most_rows;
  std::size_t const block = ((p.m + blocks - 1) / blocks + together - 1) / together * together;
  float* const rows_at = scratch();
  float* const panel = rows_at + near_numbers;
  for (std::size_t d = 0; d < depths; ++d) {
    std::size_t const k0 = p.k * d / depths, depth = p.k * (d + 1) / depths - k0;
    float const* const onto = d > 0 ? p.c : p.onto;
    for (std::size_t m0 = 0; m0 < p.m; m0 += block) {
      std::size_t const rows = smaller(block, p.m - m0), tiles = (rows + together - 1) / together;
      if (pack_a) pack_rows<together>(element<A>(p.a, m0, k0), p.a.row, p.a.column, rows, depth, rows_at);
      float const* const a = pack_a ? rows_at : static_cast<float const*>(p.a.data) + m0 * p.a.row + k0;
      std::size_t const a_row = strips ? 1 : pack_a ? depth : p.a.row, a_step = strips ? together : 1, next = strips ? depth * together : a_row * together;
      for (std::size_t n0 = 0; n0 < p.n; n0 += width) {
        std::size_t const columns = smaller(width, p.n - n0), after = n0 + columns;
        pack_panel<Vectors>(element<B>(p.b, k0, n0), p.b.row, p.b.column, depth, columns, panel);
        upcoming_panel upcoming = fetch_of<B>(p.b, k0, depth, after, smaller(width, p.n - after), tiles);
        for (std::size_t r = 0; r < rows; r += together) {
          std::size_t const at = (m0 + r) * p.c_row + n0, outputs = smaller(together, rows - r);
          float const *const tile_rows = a + r / together * next, *const tile_onto = onto ? onto + at : nullptr;
          if (columns == width) {
            tile_up_to<Vectors, together>(outputs, tile_rows, a_row, a_step, panel, depth, tile_onto, p.c + at, p.c_row, upcoming);
          } else {
            float edge[together * width];
            tile_up_to<Vectors, together>(outputs, tile_rows, a_row, a_step, panel, depth, nullptr, edge, width, upcoming);
            copy_edge(edge, width, outputs, columns, tile_onto, p.c + at, p.c_row);
          }
        }
      }
    }
  }
}

// The widest panels, or those of two vectors where these leave less of the last one empty, as with the 64 or 128 numbers of a head.
template <class A, class B>
void multiply(matrix_product const& p) {
  if constexpr (tile_vectors > 2) {
    auto const empty = [&](std::size_t width) { return (width - p.n % width) % width; };
    if (empty(2 * lanes) >= empty(tile_vectors * lanes)) return multiply_by_panels<tile_vectors, A, B>(p);
  }
  multiply_by_panels<2, A, B>(p);
}

inline void multiply_any(matrix_product const& p) {
  if (p.a.bf16)
    p.b.bf16 ? multiply<std::uint16_t, std::uint16_t>(p) : multiply<std::uint16_t, float>(p);
  else
    p.b.bf16 ? multiply<float, std::uint16_t>(p) : multiply<float, float>(p);
}

inline constexpr product_kernels table{multiply_any, tile_sums, tile_vectors * lanes};

}  // namespace product
}  // namespace kedge::llm::KEDGE_ISA
#endif
