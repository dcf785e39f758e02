// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt) and called only where the processor has it; nothing but its own code is in this file.
#include "cpu_product.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include <cstdlib>

#include "avx512.hpp"

namespace kedge::llm {
namespace {

// What lies in the second-level cache while it is read again and again: a panel of B, and rows of A.
constexpr std::size_t most_depth = 768, near_numbers = 512 * most_depth;

// Of the depth, after which more of the next panel is asked for.
constexpr std::size_t fetch_every = 16;

constexpr std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

template <class Element>
__m512 load(Element const* at, __mmask16 some) {
  if constexpr (sizeof(Element) == 2) {
    __m256i const bits = _mm256_maskz_loadu_epi16(some, at);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  } else {
    return _mm512_maskz_loadu_ps(some, at);
  }
}

// Columns of the last panel that are outputs.
template <std::size_t Vectors>
struct panel_mask {
  explicit panel_mask(std::size_t columns) {
    for (std::size_t v = 0; v < Vectors; ++v) some[v] = columns > v * lanes ? first_lanes(columns - v * lanes) : __mmask16{0};
  }
  __mmask16 some[Vectors];
};

// Asks for the numbers of the next panel of B while this one is multiplied: to wait for memory while packing would take longer than packing.
class upcoming_panel {
 public:
  // `lines` stretches of `bytes`, `stride` apart, to be fetched in `calls`
  upcoming_panel(char const* at, std::size_t lines, std::size_t stride, std::size_t bytes, std::size_t calls)
      : at_(at), left_(lines), each_(bytes / cache_line + 1), next_(each_), jump_(stride - each_ * cache_line), share_((lines * each_ + calls - 1) / calls) {}

  void fetch() {
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

// Rows × Vectors · 16 outputs. a: element (r, k) at r · row + k · step; b: a panel [depth][Vectors · 16].
template <std::size_t Vectors, std::size_t Rows>
void tile(float const* a, std::size_t row, std::size_t step, float const* b, std::size_t depth, float const* onto, float* c,
          std::size_t c_row, panel_mask<Vectors> const& mask, upcoming_panel& upcoming) {
  __m512 sum[Rows][Vectors];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = _mm512_setzero_ps();
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
      __m512 y[Vectors];
#pragma GCC unroll 3
      for (std::size_t v = 0; v < Vectors; ++v) y[v] = _mm512_loadu_ps(b + v * lanes);
      b += Vectors * lanes;
#pragma GCC unroll 12
      for (std::size_t r = 0; r < Rows; ++r) {
        __m512 const x = _mm512_set1_ps(base[r / 3][(r % 3) * row]);
#pragma GCC unroll 3
        for (std::size_t v = 0; v < Vectors; ++v) sum[r][v] = _mm512_fmadd_ps(x, y[v], sum[r][v]);
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < bases; ++i) base[i] += step;
    }
  }
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < Vectors; ++v) {
      __mmask16 const some = mask.some[v];
      std::size_t const at = r * c_row + v * lanes;
      _mm512_mask_storeu_ps(c + at, some, onto ? _mm512_add_ps(_mm512_maskz_loadu_ps(some, onto + at), sum[r][v]) : sum[r][v]);
    }
}

template <std::size_t Vectors, std::size_t Rows>
void tile_up_to(std::size_t rows, float const* a, std::size_t row, std::size_t step, float const* b, std::size_t depth,
                float const* onto, float* c, std::size_t c_row, panel_mask<Vectors> const& mask, upcoming_panel& upcoming) {
  if (rows == Rows) return tile<Vectors, Rows>(a, row, step, b, depth, onto, c, c_row, mask, upcoming);
  if constexpr (Rows > 1) tile_up_to<Vectors, Rows - 1>(rows, a, row, step, b, depth, onto, c, c_row, mask, upcoming);
}

// 16 rows of 16 numbers become columns.
void transpose(__m512 (&x)[lanes]) {
  __m512 y[lanes];
#pragma GCC unroll 8
  for (std::size_t i = 0; i < lanes; i += 2) {
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (std::size_t i = 0; i < lanes; i += 4) {
    auto const pair = [&](std::size_t j) { return _mm512_castps_pd(y[i + j]); };
    x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(0), pair(2)));
    x[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(0), pair(2)));
    x[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(1), pair(3)));
    x[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(1), pair(3)));
  }
  // x[4 q + j] holds column j + 4 l of rows 4 q … 4 q + 3 in its 128 bits number l
#pragma GCC unroll 4
  for (std::size_t j = 0; j < 4; ++j) {
    __m512 const low = _mm512_shuffle_f32x4(x[j], x[4 + j], 0x88), high = _mm512_shuffle_f32x4(x[j], x[4 + j], 0xdd);
    __m512 const low2 = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0x88), high2 = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0xdd);
    y[j] = _mm512_shuffle_f32x4(low, low2, 0x88);
    y[8 + j] = _mm512_shuffle_f32x4(low, low2, 0xdd);
    y[4 + j] = _mm512_shuffle_f32x4(high, high2, 0x88);
    y[12 + j] = _mm512_shuffle_f32x4(high, high2, 0xdd);
  }
#pragma GCC unroll 16
  for (std::size_t i = 0; i < lanes; ++i) x[i] = y[i];
}

// 16 numbers next to each other of `count` lines, line_stride apart, become 16 rows of `to`, [depth][width].
template <class Element>
void pack_across(Element const* from, std::size_t line_stride, std::size_t lines, std::size_t depth, float* to, std::size_t width) {
  for (std::size_t k = 0; k < depth; k += lanes) {
    __mmask16 const some = first_lanes(depth - k);
    __m512 x[lanes];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < lanes; ++i) x[i] = i < lines ? load(from + i * line_stride + k, some) : _mm512_setzero_ps();
    transpose(x);
    std::size_t const rows = smaller(lanes, depth - k);
    for (std::size_t i = 0; i < rows; ++i) _mm512_storeu_ps(to + (k + i) * width, x[i]);
  }
}

// `columns` of `depth` rows of B, as fp32 [depth][Vectors · 16], zeros behind the last column.
template <std::size_t Vectors, class Element>
void pack_panel(Element const* from, std::size_t row, std::size_t column, std::size_t depth, std::size_t columns, float* to) {
  if (column != 1) {
    for (std::size_t j = 0; j < Vectors * lanes; j += lanes)
      pack_across(from + j * column, column, columns > j ? smaller(lanes, columns - j) : 0, depth, to + j, Vectors * lanes);
    return;
  }
  panel_mask<Vectors> const mask(columns);
  for (std::size_t k = 0; k < depth; ++k)
#pragma GCC unroll 3
    for (std::size_t v = 0; v < Vectors; ++v) _mm512_storeu_ps(to + (k * Vectors + v) * lanes, load(from + k * row + v * lanes, mask.some[v]));
}

// Rows of A as fp32: [rows][depth] where a row's numbers lie together, else strips [rows / Strip][depth][Strip].
template <std::size_t Strip, class Element>
void pack_rows(Element const* from, std::size_t row, std::size_t column, std::size_t rows, std::size_t depth, float* to) {
  if (column == 1) {
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t k = 0; k < depth; k += lanes) {
        __mmask16 const some = first_lanes(depth - k);
        _mm512_mask_storeu_ps(to + r * depth + k, some, load(from + r * row + k, some));
      }
    return;
  }
  constexpr std::size_t together = 8;  // columns of A at a time: few pages are read, and whole lines written
  for (std::size_t k0 = 0; k0 < depth; k0 += together)
    for (std::size_t r = 0; r < rows; r += Strip) {
      __mmask16 const some = first_lanes(smaller(Strip, rows - r));
      for (std::size_t k = k0; k < smaller(depth, k0 + together); ++k)
        _mm512_mask_storeu_ps(to + r * depth + k * Strip, first_lanes(Strip), load(from + k * column + r, some));
    }
}

// A thread's memory for packed rows and a packed panel.
float* scratch() {
  struct memory {
    float* at = static_cast<float*>(std::aligned_alloc(4096, (near_numbers + tile_columns * most_depth) * sizeof(float)));
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
  constexpr std::size_t width = Vectors * lanes, together = 24 / Vectors;  // columns and rows of a tile: its sums fill 24 of 32 registers
  bool const pack_a = sizeof(A) == 2 || p.a.column != 1, strips = p.a.column != 1;
  std::size_t const depths = (p.k + most_depth - 1) / most_depth, most_rows = near_numbers / ((p.k + depths - 1) / depths) / together * together;
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
        panel_mask<Vectors> const mask(columns);
        pack_panel<Vectors>(element<B>(p.b, k0, n0), p.b.row, p.b.column, depth, columns, panel);
        upcoming_panel upcoming = fetch_of<B>(p.b, k0, depth, after, smaller(width, p.n - after), tiles);
        for (std::size_t r = 0; r < rows; r += together) {
          std::size_t const at = (m0 + r) * p.c_row + n0;
          tile_up_to<Vectors, together>(smaller(together, rows - r), a + r / together * next, a_row, a_step, panel, depth, onto ? onto + at : nullptr,
                                         p.c + at, p.c_row, mask, upcoming);
        }
      }
    }
  }
}

// Panels of 48 columns, or of 32 where these leave less of the last one empty, as with the 64 or 128 numbers of a head.
template <class A, class B>
void multiply(matrix_product const& p) {
  auto const empty = [&](std::size_t width) { return (width - p.n % width) % width; };
  empty(32) < empty(48) ? multiply_by_panels<2, A, B>(p) : multiply_by_panels<3, A, B>(p);
}

void multiply_any(matrix_product const& p) {
  if (p.a.bf16)
    p.b.bf16 ? multiply<std::uint16_t, std::uint16_t>(p) : multiply<std::uint16_t, float>(p);
  else
    p.b.bf16 ? multiply<float, std::uint16_t>(p) : multiply<float, float>(p);
}

}  // namespace

product_kernel fast_product() {
  static bool const has = has_avx512();
  return has ? &multiply_any : nullptr;
}

}  // namespace kedge::llm

#else

namespace kedge::llm {

product_kernel fast_product() { return nullptr; }

}  // namespace kedge::llm

#endif
