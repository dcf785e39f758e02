// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt) and called only where the processor has it. Nothing but its own code is in this
// file: an inline function of another header would be compiled for AVX-512 too, and might be the copy that the linker keeps.
#include "cpu_kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "avx512.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t most_rows = 12;

template <bool Bf16>
__m512 rounded(__m512 x) {
  if constexpr (!Bf16) return x;
  __m512i const bits = _mm512_castps_si512(x);
  __m512i const odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i const up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
}

__m512 silu(__m512 x) {
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), exp_of(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// Where the 32 weights of a k come from. Widening costs two of 26 instructions that compete for the multipliers: the first
// block of rows leaves fp32 weights behind for the others.
enum class weights_from { fp32, bf16, bf16_and_keep };

// acc[r] += x[r, k] · panel[k], k = 0 … in − 1. Rows are reached from every third one, which leaves registers for addresses.
// The panel behind this one is asked for meanwhile, a share of it for each block of rows: hardware stops at every 4 KiB.
// Inlined always: as a function of its own it would keep the sums in memory.
template <std::size_t Rows, weights_from From>
[[gnu::always_inline]] inline void accumulate(panel_product const& p, std::size_t first, __m512 (&acc)[Rows][2]) {
  std::size_t const word = p.bf16 ? 2 : 4, panel_bytes = p.in * panel_width * word, ahead = panel_width * word * Rows / p.rows;
  char const* next = static_cast<char const*>(p.panel) + panel_bytes + panel_bytes * first / p.rows;
  constexpr std::size_t bases = (Rows + 2) / 3;
  float const* base[bases];
  for (std::size_t i = 0; i < bases; ++i) base[i] = p.x + (first + 3 * i) * p.x_stride;
  auto const* weights = From == weights_from::fp32 && p.bf16 ? p.wide : static_cast<float const*>(p.panel);
  float* wide = p.wide;
  for (std::size_t k = 0; k < p.in; ++k) {
    __m512 low, high;
    _mm_prefetch(next, _MM_HINT_T1);
    next += ahead;
    if constexpr (From == weights_from::fp32) {
      low = _mm512_loadu_ps(weights);
      high = _mm512_loadu_ps(weights + lanes);
      weights += 2 * lanes;
    } else {
      __m512i const both = _mm512_loadu_si512(weights);
      low = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
      high = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
      weights += lanes;
    }
    if constexpr (From == weights_from::bf16_and_keep) {
      _mm512_storeu_ps(wide, low);
      _mm512_storeu_ps(wide + lanes, high);
      wide += 2 * lanes;
    }
#pragma GCC unroll 12
    for (std::size_t r = 0; r < Rows; ++r) {
      __m512 const a = _mm512_set1_ps(base[r / 3][(r % 3) * p.x_stride + k]);
      acc[r][0] = _mm512_fmadd_ps(a, low, acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(a, high, acc[r][1]);
    }
  }
}

template <std::size_t Rows, bool Bf16, weights_from From>
void multiply_rows(panel_product const& p, std::size_t first) {
  __m512 acc[Rows][2];
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  accumulate<Rows, From>(p, first, acc);
  __mmask16 const low = first_lanes(p.columns), high = first_lanes(p.columns > lanes ? p.columns - lanes : 0);
#pragma GCC unroll 12
  for (std::size_t r = 0; r < Rows; ++r) {
    float* const y = p.y + (first + r) * p.y_stride;
    __m512 const a = rounded<Bf16>(acc[r][0]), b = rounded<Bf16>(acc[r][1]);
    if (p.end == panel_end::swiglu) {
      _mm512_mask_storeu_ps(y, low, rounded<Bf16>(_mm512_mul_ps(rounded<Bf16>(silu(a)), b)));
    } else if (p.end == panel_end::add) {
      _mm512_mask_storeu_ps(y, low, _mm512_add_ps(_mm512_maskz_loadu_ps(low, y), a));
      _mm512_mask_storeu_ps(y + lanes, high, _mm512_add_ps(_mm512_maskz_loadu_ps(high, y + lanes), b));
    } else {
      _mm512_mask_storeu_ps(y, low, a);
      _mm512_mask_storeu_ps(y + lanes, high, b);
    }
  }
}

template <bool Bf16, weights_from From, std::size_t Rows>
void multiply_up_to(panel_product const& p, std::size_t first, std::size_t rows) {
  if (rows == Rows) return multiply_rows<Rows, Bf16, From>(p, first);
  if constexpr (Rows > 1) multiply_up_to<Bf16, From, Rows - 1>(p, first, rows);
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

void multiply(panel_product const& p) {
  if (p.bf16)
    multiply_all<true>(p);
  else
    multiply_all<false>(p);
}

template <bool Bf16>
__m512 load(void const* at, std::size_t index) {
  if constexpr (Bf16) {
    auto const* const narrow = static_cast<std::uint16_t const*>(at) + index;
    __m256i const bits = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(narrow));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  return _mm512_loadu_ps(static_cast<float const*>(at) + index);
}

// Scores of 16 keys for Heads queries; two chains a head, since one would wait for itself.
template <std::size_t Heads, bool Bf16>
void score_page(grouped_attention const& a, std::size_t first_head, std::size_t page, std::size_t stride) {
  __m512 sum[Heads][2];
  for (auto& s : sum) s[0] = s[1] = _mm512_setzero_ps();
  float const* const q = a.q + first_head * a.d;
  // A page is read once a step and has left the caches since: this one's values and the next one's keys are asked for meanwhile.
  constexpr std::size_t line = lanes * (Bf16 ? 2 : 4);
  auto const* values = static_cast<char const*>(a.pages[page]) + a.d * line;
  auto const* next = (page + 1) * lanes < a.keys ? static_cast<char const*>(a.pages[page + 1]) : values;
  for (std::size_t i = 0; i < a.d; i += 2) {
    _mm_prefetch(values + i * line, _MM_HINT_T0);
    _mm_prefetch(next + i * line, _MM_HINT_T0);
    if constexpr (!Bf16) {
      _mm_prefetch(values + (i + 1) * line, _MM_HINT_T0);
      _mm_prefetch(next + (i + 1) * line, _MM_HINT_T0);
    }
    for (std::size_t chain = 0; chain < 2; ++chain) {
      __m512 const keys = load<Bf16>(a.pages[page], (i + chain) * lanes);
#pragma GCC unroll 4
      for (std::size_t h = 0; h < Heads; ++h) sum[h][chain] = _mm512_fmadd_ps(_mm512_set1_ps(q[h * a.d + i + chain]), keys, sum[h][chain]);
    }
  }
  __mmask16 const seen = first_lanes(a.keys - page * lanes);
  for (std::size_t h = 0; h < Heads; ++h)
    _mm512_storeu_ps(a.scores + (first_head + h) * stride + page * lanes,
                     _mm512_mask_mul_ps(_mm512_set1_ps(-__builtin_inff()), seen, _mm512_add_ps(sum[h][0], sum[h][1]), _mm512_set1_ps(a.scale)));
}

// Scores become probabilities, without their common factor, which is returned.
float soften(float* scores, std::size_t stride) {
  __m512 most = _mm512_loadu_ps(scores);
  for (std::size_t i = lanes; i < stride; i += lanes) most = _mm512_max_ps(most, _mm512_loadu_ps(scores + i));
  __m512 const shift = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  __m512 sum = _mm512_setzero_ps();
  for (std::size_t i = 0; i < stride; i += lanes) {
    __m512 const s = _mm512_loadu_ps(scores + i);
    __mmask16 const seen = _mm512_cmp_ps_mask(s, _mm512_set1_ps(-__builtin_inff()), _CMP_GT_OQ);
    __m512 const p = _mm512_maskz_mov_ps(seen, exp_of(_mm512_sub_ps(s, shift)));
    _mm512_storeu_ps(scores + i, p);
    sum = _mm512_add_ps(sum, p);
  }
  return 1 / _mm512_reduce_add_ps(sum);
}

// Values weighted by probabilities: 16 · Width numbers of Heads outputs.
template <std::size_t Heads, std::size_t Width, bool Bf16>
void weigh_values(grouped_attention const& a, std::size_t first_head, std::size_t at, std::size_t stride, float const* factors) {
  __m512 sum[Heads][Width];
  for (auto& head : sum)
    for (auto& s : head) s = _mm512_setzero_ps();
  for (std::size_t j = 0; j < a.keys; ++j) {
    std::size_t const row = a.d * lanes + (j % lanes) * a.d + at;
    __m512 value[Width];
#pragma GCC unroll 4
    for (std::size_t w = 0; w < Width; ++w) value[w] = load<Bf16>(a.pages[j / lanes], row + w * lanes);
#pragma GCC unroll 4
    for (std::size_t h = 0; h < Heads; ++h) {
      __m512 const p = _mm512_set1_ps(a.scores[(first_head + h) * stride + j]);
#pragma GCC unroll 4
      for (std::size_t w = 0; w < Width; ++w) sum[h][w] = _mm512_fmadd_ps(p, value[w], sum[h][w]);
    }
  }
  for (std::size_t h = 0; h < Heads; ++h)
    for (std::size_t w = 0; w < Width; ++w)
      _mm512_storeu_ps(a.out + (first_head + h) * a.d + at + w * lanes,
                       rounded<Bf16>(_mm512_mul_ps(sum[h][w], _mm512_set1_ps(factors[h]))));
}

template <std::size_t Heads, bool Bf16>
void attend_heads(grouped_attention const& a, std::size_t first) {
  std::size_t const pages = (a.keys + lanes - 1) / lanes, stride = pages * lanes;
  for (std::size_t page = 0; page < pages; ++page) score_page<Heads, Bf16>(a, first, page, stride);
  float factors[Heads];
  for (std::size_t h = 0; h < Heads; ++h) factors[h] = soften(a.scores + (first + h) * stride, stride);
  std::size_t at = 0;
  for (; at + 4 * lanes <= a.d; at += 4 * lanes) weigh_values<Heads, 4, Bf16>(a, first, at, stride, factors);
  for (; at < a.d; at += lanes) weigh_values<Heads, 1, Bf16>(a, first, at, stride, factors);
}

template <bool Bf16>
void attend_all(grouped_attention const& a) {
  std::size_t h = 0;
  for (; h + 4 <= a.heads; h += 4) attend_heads<4, Bf16>(a, h);
  for (; h + 3 <= a.heads; h += 3) attend_heads<3, Bf16>(a, h);
  for (; h < a.heads; ++h) attend_heads<1, Bf16>(a, h);
}

void attend(grouped_attention const& a) {
  if (a.bf16)
    attend_all<true>(a);
  else
    attend_all<false>(a);
}

template <bool Bf16>
void normalise_row(row_norm const& r) {
  __m512 squares = _mm512_setzero_ps();
  for (std::size_t i = 0; i < r.n; i += lanes) {
    __m512 const x = _mm512_maskz_loadu_ps(first_lanes(r.n - i), r.x + i);
    squares = _mm512_fmadd_ps(x, x, squares);
  }
  __m128 const mean = _mm_set_ss(_mm512_reduce_add_ps(squares) / static_cast<float>(r.n) + r.eps);
  __m512 const inverse = _mm512_set1_ps(1 / _mm_cvtss_f32(_mm_sqrt_ss(mean)));
  for (std::size_t i = 0; i < r.n; i += lanes) {
    __mmask16 const some = first_lanes(r.n - i);
    __m512 const scaled = rounded<Bf16>(_mm512_mul_ps(_mm512_maskz_loadu_ps(some, r.x + i), inverse));
    _mm512_mask_storeu_ps(r.out + i, some, rounded<Bf16>(_mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(some, r.weight + i))));
  }
}

void normalise(row_norm const& r) {
  if (r.bf16)
    normalise_row<true>(r);
  else
    normalise_row<false>(r);
}

float largest(float const* x, std::size_t n) {
  __m512 most = _mm512_set1_ps(-__builtin_inff());
  for (std::size_t i = 0; i < n; i += lanes) {
    __mmask16 const some = first_lanes(n - i);
    most = _mm512_mask_max_ps(most, some, most, _mm512_maskz_loadu_ps(some, x + i));
  }
  return _mm512_reduce_max_ps(most);
}

double exp_sum(float const* x, std::size_t n, float shift, float scale) {
  __m512 sum = _mm512_setzero_ps();
  for (std::size_t i = 0; i < n; i += lanes) {
    __mmask16 const some = first_lanes(n - i);
    __m512 const at = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(some, x + i), _mm512_set1_ps(shift)), _mm512_set1_ps(scale));
    sum = _mm512_mask_add_ps(sum, some, sum, exp_of(at));
  }
  return static_cast<double>(_mm512_reduce_add_ps(sum));
}

constexpr cpu_kernels avx512{multiply, attend, normalise, largest, exp_sum};

}  // namespace

cpu_kernels const* fast_kernels() {
  static bool const has = has_avx512();
  return has ? &avx512 : nullptr;
}

}  // namespace kedge::llm

#else

namespace kedge::llm {

cpu_kernels const* fast_kernels() { return nullptr; }

}  // namespace kedge::llm

#endif
