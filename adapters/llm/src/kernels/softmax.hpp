// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace kedge::llm {

/// Distributions over a vocabulary, and over the keys that a query sees; fp32, a row's results depend on that row alone.
struct softmax_kernels {
  /// Scores become probabilities; log Σ exp of each row.
  void (*softmax)(float* scores, std::size_t rows, std::size_t n, float* log_sum);
  /// Attention: scores of queries, `stride` numbers apart, become probabilities; query i sees `visible` + i of its n keys, the others
  /// get 0. log Σ exp(scale · score) of each.
  void (*causal)(float* scores, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float scale, float* log_sum);
  /// Scores become probabilities, their gradients those of the scores before scaling. inner: Σ g ∘ output of each query
  void (*causal_backward)(float* scores, float* gradient, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float scale,
                          float const* log_sum, float const* inner);
  /// Σ a ∘ b.
  float (*dot)(float const* a, float const* b, std::size_t n);
  /// The largest of n ≥ 1 numbers.
  float (*largest)(float const* x, std::size_t n);
  /// Σ exp((x − shift) · scale), n small enough for an fp32 sum.
  double (*exp_sum)(float const* x, std::size_t n, float shift, float scale);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace softmax {

inline float largest_of(float const* x, std::size_t n) {
  floats const lowest = broadcast(-__builtin_inff());
  floats most = lowest;
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { most = max(most, keep(load(x + i, some), some, lowest)); });
  return largest(most);
}

// Each number becomes f of it. -> their sum
template <class F>
KEDGE_INLINE float replaced(float* x, std::size_t n, F const& f) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const y = f(load(x + i, some));
    store(x + i, y, some);
    total += keep(y, some, zero());
  });
  return sum(total);
}

inline void scale(float* x, std::size_t n, float factor) {
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(x + i, load(x + i, some) * factor, some); });
}

// A row whose largest number is infinite, as the formulas have it: inf − inf is no number, and of NaN all is NaN.
inline float softmax_of_infinite(float* scores, std::size_t n, float shift) {
  bool none = false;
  for (std::size_t i = 0; i < n; ++i) none |= scores[i] != scores[i];
  for (std::size_t i = 0; i < n; ++i) scores[i] = none || scores[i] == shift ? __builtin_nanf("") : 0;
  return none ? __builtin_nanf("") : shift;
}

inline void softmax(float* scores, std::size_t rows, std::size_t n, float* log_sum) {
  constexpr std::size_t block = 256;
  for (std::size_t r = 0; r < rows; ++r, scores += n) {
    float const shift = largest_of(scores, n);
    if (__builtin_isinf(shift)) {
      log_sum[r] = softmax_of_infinite(scores, n, shift);
      continue;
    }
    double exact = 0;  // thousands of small numbers added to a large one in fp32 would be lost, all to one side
    for (std::size_t begin = 0; begin < n; begin += block)
      exact += static_cast<double>(
          replaced(scores + begin, smaller(block, n - begin), [&](floats x) __attribute__((always_inline)) { return exp(x - shift); }));
    auto const total = static_cast<float>(exact);
    log_sum[r] = shift + __builtin_logf(total);
    scale(scores, n, 1 / total);
  }
}

inline void causal(float* scores, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float factor, float* log_sum) {
  for (std::size_t r = 0; r < rows; ++r, ++visible, scores += stride) {
    float const shift = factor * largest_of(scores, visible);
    float const total =
        replaced(scores, visible, [&](floats x) __attribute__((always_inline)) { return exp(fma(x, broadcast(factor), broadcast(-shift))); });
    log_sum[r] = shift + __builtin_logf(total);
    scale(scores, visible, 1 / total);
    for (std::size_t i = visible; i < n; ++i) scores[i] = 0;
  }
}

inline void causal_backward(float* scores, float* gradient, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float factor,
                            float const* log_sum, float const* inner) {
  for (std::size_t r = 0; r < rows; ++r, ++visible, scores += stride, gradient += stride) {
    floats const shift = broadcast(-log_sum[r]);
    float const mean = inner[r];
    each(visible, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const p = exp(fma(load(scores + i, some), broadcast(factor), shift));
      store(scores + i, p, some);
      store(gradient + i, p * (load(gradient + i, some) - mean) * factor, some);
    });
    for (std::size_t i = visible; i < n; ++i) scores[i] = gradient[i] = 0;
  }
}

inline float dot(float const* a, float const* b, std::size_t n) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { total = fma(load(a + i, some), load(b + i, some), total); });
  return sum(total);
}

inline double exp_sum(float const* x, std::size_t n, float shift, float factor) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    total += keep(exp((load(x + i, some) - shift) * factor), some, zero());
  });
  return static_cast<double>(sum(total));
}

inline constexpr softmax_kernels table{softmax, causal, causal_backward, dot, largest_of, exp_sum};

}  // namespace softmax
}  // namespace kedge::llm::KEDGE_ISA
#endif
