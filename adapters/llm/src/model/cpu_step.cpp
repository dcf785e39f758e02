// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt) and called only where the processor has it; nothing but its own code is in this file.
#include "cpu_step.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "avx512.hpp"

namespace kedge::llm {
namespace {

// Calls f(offset, mask) for 16 numbers at a time.
template <class F>
void each(std::size_t n, F const& f) {
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, static_cast<__mmask16>(0xffff));
  if (i < n) f(i, first_lanes(n - i));
}

__m512 load(__mmask16 some, float const* at) { return _mm512_maskz_loadu_ps(some, at); }

void inverse_rms(float const* x, std::size_t rows, std::size_t n, float eps, float* inverse) {
  for (std::size_t r = 0; r < rows; ++r, x += n) {
    __m512 squares = _mm512_setzero_ps();
    each(n, [&](std::size_t i, __mmask16 some) {
      __m512 const v = load(some, x + i);
      squares = _mm512_fmadd_ps(v, v, squares);
    });
    __m128 const mean = _mm_set_ss(_mm512_reduce_add_ps(squares) / static_cast<float>(n) + eps);
    inverse[r] = 1 / _mm_cvtss_f32(_mm_sqrt_ss(mean));
  }
}

void scale(float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* out) {
  for (std::size_t r = 0; r < rows; ++r, x += n, out += n) {
    __m512 const factor = _mm512_set1_ps(inverse[r]);
    each(n, [&](std::size_t i, __mmask16 some) {
      _mm512_mask_storeu_ps(out + i, some, _mm512_mul_ps(_mm512_mul_ps(load(some, x + i), factor), load(some, weight + i)));
    });
  }
}

// With y = x · inverse: gx += inverse · (g ∘ w − y · mean(g ∘ w ∘ y)), gw += g ∘ y.
void scale_backward(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* gx,
                    float* weight_gradient) {
  for (std::size_t r = 0; r < rows; ++r, g += n, x += n, gx += n) {
    __m512 const factor = _mm512_set1_ps(inverse[r]);
    __m512 along = _mm512_setzero_ps();
    each(n, [&](std::size_t i, __mmask16 some) {
      __m512 const y = _mm512_mul_ps(load(some, x + i), factor), gy = _mm512_mul_ps(load(some, g + i), y);
      along = _mm512_fmadd_ps(gy, load(some, weight + i), along);
      _mm512_mask_storeu_ps(weight_gradient + i, some, _mm512_add_ps(load(some, weight_gradient + i), gy));
    });
    __m512 const mean = _mm512_set1_ps(_mm512_reduce_add_ps(along) / static_cast<float>(n));
    each(n, [&](std::size_t i, __mmask16 some) {
      __m512 const y = _mm512_mul_ps(load(some, x + i), factor);
      __m512 const inner = _mm512_fnmadd_ps(y, mean, _mm512_mul_ps(load(some, g + i), load(some, weight + i)));
      _mm512_mask_storeu_ps(gx + i, some, _mm512_fmadd_ps(inner, factor, load(some, gx + i)));
    });
  }
}

void rotate(float* x, float const* cosine, float const* sine, std::size_t rows, std::size_t heads, std::size_t d, float direction) {
  std::size_t const half = d / 2;
  __m512 const sign = _mm512_set1_ps(direction);
  for (std::size_t r = 0; r < rows; ++r, cosine += half, sine += half)
    for (std::size_t h = 0; h < heads; ++h, x += d)
      each(half, [&](std::size_t i, __mmask16 some) {
        __m512 const c = load(some, cosine + i), s = _mm512_mul_ps(load(some, sine + i), sign);
        __m512 const left = load(some, x + i), right = load(some, x + half + i);
        _mm512_mask_storeu_ps(x + i, some, _mm512_fnmadd_ps(right, s, _mm512_mul_ps(left, c)));
        _mm512_mask_storeu_ps(x + half + i, some, _mm512_fmadd_ps(left, s, _mm512_mul_ps(right, c)));
      });
}

__m512 sigmoid(__m512 x) {
  __m512 const one = _mm512_set1_ps(1);
  return _mm512_div_ps(one, _mm512_add_ps(one, exp_of(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

void swiglu(float const* gate, float const* up, std::size_t n, float* out) {
  each(n, [&](std::size_t i, __mmask16 some) {
    __m512 const z = load(some, gate + i);
    _mm512_mask_storeu_ps(out + i, some, _mm512_mul_ps(_mm512_mul_ps(z, sigmoid(z)), load(some, up + i)));
  });
}

// silu' = s (1 + z (1 − s)), s the sigmoid of z.
void swiglu_backward(float const* g, float const* gate, float const* up, std::size_t n, float* gate_gradient, float* up_gradient) {
  __m512 const one = _mm512_set1_ps(1);
  each(n, [&](std::size_t i, __mmask16 some) {
    __m512 const z = load(some, gate + i), s = sigmoid(z), out = load(some, g + i);
    __m512 const slope = _mm512_mul_ps(s, _mm512_fmadd_ps(z, _mm512_sub_ps(one, s), one));
    _mm512_mask_storeu_ps(gate_gradient + i, some, _mm512_mul_ps(_mm512_mul_ps(out, load(some, up + i)), slope));
    _mm512_mask_storeu_ps(up_gradient + i, some, _mm512_mul_ps(out, _mm512_mul_ps(z, s)));
  });
}

void causal_softmax(float* scores, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float scale, float* log_sum) {
  __m512 const factor = _mm512_set1_ps(scale);
  for (std::size_t r = 0; r < rows; ++r, ++visible, scores += stride) {
    __m512 most = _mm512_set1_ps(-__builtin_inff());
    each(visible, [&](std::size_t i, __mmask16 some) {
      __m512 const s = _mm512_mul_ps(load(some, scores + i), factor);
      _mm512_mask_storeu_ps(scores + i, some, s);
      most = _mm512_mask_max_ps(most, some, most, s);
    });
    float const largest = _mm512_reduce_max_ps(most);
    __m512 sum = _mm512_setzero_ps();
    each(visible, [&](std::size_t i, __mmask16 some) {
      __m512 const e = exp_of(_mm512_sub_ps(load(some, scores + i), _mm512_set1_ps(largest)));
      _mm512_mask_storeu_ps(scores + i, some, e);
      sum = _mm512_mask_add_ps(sum, some, sum, e);
    });
    float const total = _mm512_reduce_add_ps(sum);
    log_sum[r] = largest + __builtin_logf(total);
    __m512 const share = _mm512_set1_ps(1 / total);
    each(visible, [&](std::size_t i, __mmask16 some) { _mm512_mask_storeu_ps(scores + i, some, _mm512_mul_ps(load(some, scores + i), share)); });
    for (std::size_t i = visible; i < n; ++i) scores[i] = 0;
  }
}

void causal_softmax_backward(float* scores, float* gradient, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible,
                             float scale, float const* log_sum, float const* inner) {
  __m512 const factor = _mm512_set1_ps(scale);
  for (std::size_t r = 0; r < rows; ++r, ++visible, scores += stride, gradient += stride) {
    __m512 const shift = _mm512_set1_ps(log_sum[r]), mean = _mm512_set1_ps(inner[r]);
    each(visible, [&](std::size_t i, __mmask16 some) {
      __m512 const p = exp_of(_mm512_fmsub_ps(load(some, scores + i), factor, shift));
      _mm512_mask_storeu_ps(scores + i, some, p);
      _mm512_mask_storeu_ps(gradient + i, some, _mm512_mul_ps(_mm512_mul_ps(p, _mm512_sub_ps(load(some, gradient + i), mean)), factor));
    });
    for (std::size_t i = visible; i < n; ++i) scores[i] = gradient[i] = 0;
  }
}

float dot(float const* a, float const* b, std::size_t n) {
  __m512 sum = _mm512_setzero_ps();
  each(n, [&](std::size_t i, __mmask16 some) { sum = _mm512_fmadd_ps(load(some, a + i), load(some, b + i), sum); });
  return _mm512_reduce_add_ps(sum);
}

void softmax(float* scores, std::size_t rows, std::size_t n, float* log_sum) {
  constexpr std::size_t block = 256;
  for (std::size_t r = 0; r < rows; ++r, scores += n) {
    __m512 most = _mm512_set1_ps(-__builtin_inff());
    each(n, [&](std::size_t i, __mmask16 some) { most = _mm512_mask_max_ps(most, some, most, load(some, scores + i)); });
    float const largest = _mm512_reduce_max_ps(most);
    __m512 const shift = _mm512_set1_ps(largest);
    double exact = 0;  // thousands of small numbers added to a large one in fp32 would be lost, all to one side
    for (std::size_t begin = 0; begin < n; begin += block) {
      __m512 sum = _mm512_setzero_ps();
      float* const at = scores + begin;
      each(n - begin < block ? n - begin : block, [&](std::size_t i, __mmask16 some) {
        __m512 const e = exp_of(_mm512_sub_ps(load(some, at + i), shift));
        _mm512_mask_storeu_ps(at + i, some, e);
        sum = _mm512_mask_add_ps(sum, some, sum, e);
      });
      exact += static_cast<double>(_mm512_reduce_add_ps(sum));
    }
    auto const total = static_cast<float>(exact);
    log_sum[r] = largest + __builtin_logf(total);
    __m512 const factor = _mm512_set1_ps(1 / total);
    each(n, [&](std::size_t i, __mmask16 some) { _mm512_mask_storeu_ps(scores + i, some, _mm512_mul_ps(load(some, scores + i), factor)); });
  }
}

constexpr step_kernels avx512{inverse_rms, scale, scale_backward, rotate, swiglu, swiglu_backward, causal_softmax, causal_softmax_backward, dot, softmax};

}  // namespace

step_kernels const* fast_step() {
  static bool const has = has_avx512();
  return has ? &avx512 : nullptr;
}

}  // namespace kedge::llm

#else

namespace kedge::llm {

step_kernels const* fast_step() { return nullptr; }

}  // namespace kedge::llm

#endif
