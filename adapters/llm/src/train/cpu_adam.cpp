// SPDX-License-Identifier: Apache-2.0
#include "cpu_adam.hpp"

#if defined(__AVX512F__)
#include <algorithm>

#include "../model/avx512.hpp"

namespace kedge::llm {
namespace {

__m512 broadcast(float x) { return _mm512_set1_ps(x); }
__m512i broadcast(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }

// The numbers of a step in registers.
struct step_vectors {
  explicit step_vectors(adam_numbers const& s)
      : decay(broadcast(s.decay)), rate(broadcast(s.rate)), root(broadcast(s.root)), new1(broadcast(1 - s.beta1)), beta2(broadcast(s.beta2)),
        new2(broadcast(1 - s.beta2)), epsilon(broadcast(s.epsilon)), scale(broadcast(s.scale)), seed(broadcast(s.seed)), zero(s.zero_gradient) {}
  __m512 decay, rate, root, new1, beta2, new2, epsilon, scale;
  __m512i seed;
  bool zero;
};

// 16 parameters: gradient, moments, parameter, copy.
inline void step_lanes(adam_range const& r, std::size_t i, __mmask16 mask, step_vectors const& s, __m512& m, __m512& v) {
  __m512 const g = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, r.gradient + i), s.scale);
  if (s.zero) _mm512_mask_storeu_ps(r.gradient + i, mask, _mm512_setzero_ps());
  m = _mm512_fmadd_ps(s.new1, _mm512_sub_ps(g, m), m);
  v = _mm512_fmadd_ps(_mm512_mul_ps(s.new2, g), g, _mm512_mul_ps(s.beta2, v));
  __m512 const denominator = _mm512_fmadd_ps(_mm512_sqrt_ps(v), s.root, s.epsilon);
  __m512 const old = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, r.theta + i), s.decay);
  __m512 const theta = _mm512_fnmadd_ps(s.rate, _mm512_div_ps(m, denominator), old);
  _mm512_mask_storeu_ps(r.theta + i, mask, theta);
  if (!r.copy) return;
  __m512i const bits = _mm512_castps_si512(theta), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), broadcast(1U));
  __m512i const rounded = _mm512_add_epi32(_mm512_add_epi32(bits, broadcast(0x7fffU)), odd);
  _mm256_mask_storeu_epi16(r.copy + i, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

inline __m512i random_lanes(step_vectors const& s, std::size_t index) {
  __m512i const places = _mm512_add_epi32(broadcast(static_cast<std::uint32_t>(index)), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  __m512i x = _mm512_xor_si512(places, s.seed);
  x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), broadcast(mixing));
  x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 15)), broadcast(mixing));
  return _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
}

void step_same(adam_range const& r, step_vectors const& s) {
  auto *const first = static_cast<float*>(r.first), *const second = static_cast<float*>(r.second);
  for (std::size_t i = 0; i < r.n; i += lanes) {
    __mmask16 const mask = first_lanes(r.n - i);
    __m512 m = _mm512_maskz_loadu_ps(mask, first + i), v = _mm512_maskz_loadu_ps(mask, second + i);
    step_lanes(r, i, mask, s, m, v);
    _mm512_mask_storeu_ps(first + i, mask, m);
    _mm512_mask_storeu_ps(second + i, mask, v);
  }
}

inline __m512 widened(std::uint16_t const* from, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16));
}

inline void store_upper(std::uint16_t* to, __mmask16 mask, __m512i bits) {
  _mm256_mask_storeu_epi16(to, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

void step_bf16(adam_range const& r, step_vectors const& s) {
  auto *const first = static_cast<std::uint16_t*>(r.first), *const second = static_cast<std::uint16_t*>(r.second);
  for (std::size_t i = 0; i < r.n; i += lanes) {
    __mmask16 const mask = first_lanes(r.n - i);
    __m512 m = widened(first + i, mask), v = widened(second + i, mask);
    step_lanes(r, i, mask, s, m, v);
    __m512i const bits = _mm512_castps_si512(m), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), broadcast(1U));
    store_upper(first + i, mask, _mm512_add_epi32(_mm512_add_epi32(bits, broadcast(0x7fffU)), odd));
    __m512i const noise = _mm512_and_si512(random_lanes(s, r.first_index + i), broadcast(0xffffU));
    store_upper(second + i, mask, _mm512_add_epi32(_mm512_castps_si512(v), noise));
  }
}

inline __m512 code_of(std::array<line, code_lines> const& lines, __m512 x) {
  __m512 least = _mm512_mul_ps(broadcast(lines[0].a), x);
  for (std::size_t i = 1; i < code_lines; ++i) least = _mm512_min_ps(least, _mm512_fmadd_ps(broadcast(lines[i].a), x, broadcast(lines[i].b)));
  return least;
}

inline __m512 number_of(std::array<line, code_lines> const& lines, __m512 code) {
  __m512 largest = _mm512_mul_ps(broadcast(1 / lines[0].a), code);
  for (std::size_t i = 1; i < code_lines; ++i)
    largest = _mm512_max_ps(largest, _mm512_mul_ps(broadcast(1 / lines[i].a), _mm512_sub_ps(code, broadcast(lines[i].b))));
  return largest;
}

inline __m512i loaded_codes(std::uint8_t const* from, __mmask16 mask) { return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, from)); }
inline void store_codes(std::uint8_t* to, __mmask16 mask, __m512i codes) { _mm_mask_storeu_epi8(to, mask, _mm512_cvtepi32_epi8(codes)); }

// The moments of a block as the step leaves them, in fp32.
struct block_moments {
  alignas(64) float first[moment_block], root[moment_block];
  float first_largest = 0, root_largest = 0;
};

void step_block(adam_range const& r, std::size_t begin, std::size_t end, step_vectors const& s, block_moments& now) {
  auto *const first = static_cast<std::uint8_t*>(r.first), *const second = static_cast<std::uint8_t*>(r.second);
  __m512 const first_scale = broadcast(r.first_scale[begin / moment_block]), root_scale = broadcast(r.second_scale[begin / moment_block]);
  __m512 first_largest = _mm512_setzero_ps(), root_largest = _mm512_setzero_ps();
  for (std::size_t i = begin; i < end; i += lanes) {
    __mmask16 const mask = first_lanes(end - i);
    __m512i const codes = loaded_codes(first + i, mask);
    __m512 const size = number_of(signed_lines, _mm512_cvtepi32_ps(_mm512_and_si512(codes, broadcast(0x7fU))));
    __m512i const sign = _mm512_slli_epi32(_mm512_and_si512(codes, broadcast(0x80U)), 24);
    __m512 m = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(size), sign)), first_scale);
    __m512 const root = _mm512_mul_ps(number_of(unsigned_lines, _mm512_cvtepi32_ps(loaded_codes(second + i, mask))), root_scale);
    __m512 v = _mm512_mul_ps(root, root);
    step_lanes(r, i, mask, s, m, v);
    __m512 const new_root = _mm512_sqrt_ps(v);
    _mm512_store_ps(now.first + (i - begin), m);
    _mm512_store_ps(now.root + (i - begin), new_root);
    first_largest = _mm512_mask_max_ps(first_largest, mask, first_largest, _mm512_abs_ps(m));
    root_largest = _mm512_mask_max_ps(root_largest, mask, root_largest, new_root);
  }
  now.first_largest = _mm512_reduce_max_ps(first_largest);
  now.root_largest = _mm512_reduce_max_ps(root_largest);
}

void store_block(adam_range const& r, std::size_t begin, std::size_t end, step_vectors const& s, block_moments const& now) {
  auto *const first = static_cast<std::uint8_t*>(r.first), *const second = static_cast<std::uint8_t*>(r.second);
  auto const inverse = [](float largest) { return broadcast(largest > 0 ? 1 / largest : 0.0F); };
  __m512 const to_first = inverse(now.first_largest), to_root = inverse(now.root_largest), half = broadcast(0.5F), unit = broadcast(0x1p-24F);
  for (std::size_t i = begin; i < end; i += lanes) {
    __mmask16 const mask = first_lanes(end - i);
    __m512 const m = _mm512_load_ps(now.first + (i - begin)), root = _mm512_load_ps(now.root + (i - begin));
    __m512i const sign = _mm512_srli_epi32(_mm512_and_si512(_mm512_castps_si512(m), broadcast(0x8000'0000U)), 24);
    __m512 const size = code_of(signed_lines, _mm512_mul_ps(_mm512_abs_ps(m), to_first));
    __m512i const size_code = _mm512_min_epi32(_mm512_cvttps_epi32(_mm512_add_ps(size, half)), broadcast(127U));
    store_codes(first + i, mask, _mm512_or_si512(size_code, sign));
    __m512 const dither = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(random_lanes(s, r.first_index + i), 8)), unit);
    __m512 const exact = code_of(unsigned_lines, _mm512_mul_ps(root, to_root));
    __m512i code = _mm512_min_epi32(_mm512_cvttps_epi32(_mm512_add_ps(exact, dither)), broadcast(255U));
    // Nothing positive becomes 0, by which a step would be divided.
    code = _mm512_mask_max_epi32(code, _mm512_cmp_ps_mask(root, _mm512_setzero_ps(), _CMP_GT_OQ), code, broadcast(1U));
    store_codes(second + i, mask, code);
  }
  r.first_scale[begin / moment_block] = now.first_largest;
  r.second_scale[begin / moment_block] = now.root_largest;
}

void step_bits8(adam_range const& r, step_vectors const& s) {
  block_moments now;
  for (std::size_t begin = 0; begin < r.n; begin += moment_block) {
    std::size_t const end = std::min(r.n, begin + moment_block);
    step_block(r, begin, end, s, now);
    store_block(r, begin, end, s, now);
  }
}

void step(moment_type moments, adam_range const& range, adam_numbers const& numbers) {
  step_vectors const s(numbers);
  if (moments == moment_type::same) return step_same(range, s);
  if (moments == moment_type::bf16) return step_bf16(range, s);
  step_bits8(range, s);
}

}  // namespace

adam_kernel fast_adam() {
  static bool const runs = has_avx512();
  return runs ? &step : nullptr;
}

}  // namespace kedge::llm
#else
namespace kedge::llm {
adam_kernel fast_adam() { return nullptr; }
}  // namespace kedge::llm
#endif
