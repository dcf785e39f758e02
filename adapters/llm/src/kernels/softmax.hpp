// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Where figures of distributions go, one number a row each.
struct distribution_figures {
  float* log_sum;    ///< log Σ exp of the scores
  float* entropy;    ///< of the probabilities, nats
  float* mean;       ///< of the scores
  float* likeliest;  ///< 1 where the target's score is the largest, and the first of its size; else 0
};

/// Products of queries with keys, `stride` numbers apart: query i sees keys `visible` + i − 1 and before, of them the last `window`. What
/// their softmax is of is cap · tanh(scale · s / cap), or scale · s.
struct score_block {
  float* scores;
  std::size_t rows, stride;
  std::size_t keys;     ///< of a row; visible + rows − 1 is at most that
  std::size_t visible;  ///< at least 1
  std::size_t window;   ///< 0: none
  float scale, cap;     ///< a cap of 0: none
};

/// Distributions over a vocabulary, and over the keys that a query sees; fp32, a row's results depend on that row alone.
struct softmax_kernels {
  /// Scores become probabilities; log Σ exp of each row.
  void (*softmax)(float* scores, std::size_t rows, std::size_t n, float* log_sum);
  /// Attention: scores become probabilities, those that a query doesn't see 0. log Σ exp of each query's scores
  void (*causal)(score_block const& scores, float* log_sum);
  /// Scores become probabilities, their gradients those of the scores before scale and cap. inner: Σ g ∘ output of each query
  void (*causal_backward)(score_block const& scores, float* gradient, float const* log_sum, float const* inner);
  /// Σ a ∘ b.
  float (*dot)(float const* a, float const* b, std::size_t n);
  /// The largest of n ≥ 1 numbers.
  float (*largest)(float const* x, std::size_t n);
  /// Σ exp((x − shift) · scale), n small enough for an fp32 sum.
  double (*exp_sum)(float const* x, std::size_t n, float shift, float scale);
  /// What softmax does, bit for bit, and figures of each row on the way. targets: of each row, below n
  void (*distribution)(float* scores, std::size_t rows, std::size_t n, std::int64_t const* targets, distribution_figures const& to);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace softmax {

inline float largest_of(float const* x, std::size_t n) {
  floats const lowest = broadcast(-__builtin_inff());
  floats most = lowest;
  each(n, [&](std::size_t i, auto some)
              __attribute__((always_inline)) { most = max(most, keep(load(x + i, some), some, lowest)); });
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

// Sums over a row, y = exp(x − shift). Thousands of small numbers added to a large one in fp32 would be lost, all to one side.
struct row_sums {
  double exponentials = 0;  // Σ y
  double weighted = 0;      // Σ y (x − shift)
  double scores = 0;        // Σ x
};

// Each score becomes y.
template <bool with_figures>
KEDGE_INLINE row_sums exponentials(float* scores, std::size_t n, float shift) {
  constexpr std::size_t block = 256;
  floats const lowest = broadcast(-200.0f);  // far below what exp leaves anything of: 0 · −inf would be no number
  row_sums all;
  for (std::size_t begin = 0; begin < n; begin += block) {
    floats total = zero(), weighted = zero(), plain = zero();
    each(smaller(block, n - begin), [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const x = load(scores + begin + i, some), below = x - shift, y = exp(below), kept = keep(y, some, zero());
      store(scores + begin + i, y, some);
      total += kept;
      if constexpr (with_figures) {
        weighted = fma(kept, max(lowest, below), weighted);
        plain += keep(x, some, zero());
      }
    });
    all.exponentials += static_cast<double>(sum(total));
    if constexpr (with_figures) {
      all.weighted += static_cast<double>(sum(weighted));
      all.scores += static_cast<double>(sum(plain));
    }
  }
  return all;
}

inline void softmax(float* scores, std::size_t rows, std::size_t n, float* log_sum) {
  for (std::size_t r = 0; r < rows; ++r, scores += n) {
    float const shift = largest_of(scores, n);
    if (__builtin_isinf(shift)) {
      log_sum[r] = softmax_of_infinite(scores, n, shift);
      continue;
    }
    auto const total = static_cast<float>(exponentials<false>(scores, n, shift).exponentials);
    log_sum[r] = shift + __builtin_logf(total);
    scale(scores, n, 1 / total);
  }
}

inline void distribution(float* scores, std::size_t rows, std::size_t n, std::int64_t const* targets, distribution_figures const& to) {
  for (std::size_t r = 0; r < rows; ++r, scores += n) {
    float const shift = largest_of(scores, n);
    auto const target = static_cast<std::size_t>(targets[r]);
    to.likeliest[r] = scores[target] == shift && (target == 0 || largest_of(scores, target) < shift) ? 1 : 0;
    if (__builtin_isinf(shift)) {
      double sum_of_scores = 0;
      for (std::size_t i = 0; i < n; ++i) sum_of_scores += static_cast<double>(scores[i]);
      to.mean[r] = static_cast<float>(sum_of_scores / static_cast<double>(n));
      to.entropy[r] = __builtin_nanf("");
      to.log_sum[r] = softmax_of_infinite(scores, n, shift);
      continue;
    }
    row_sums const sums = exponentials<true>(scores, n, shift);
    auto const total = static_cast<float>(sums.exponentials);
    to.log_sum[r] = shift + __builtin_logf(total);
    to.entropy[r] = static_cast<float>(__builtin_log(sums.exponentials) - sums.weighted / sums.exponentials);
    to.mean[r] = static_cast<float>(sums.scores / static_cast<double>(n));
    scale(scores, n, 1 / total);
  }
}

// f(row, the first key that it sees, that behind the last)
template <class F>
KEDGE_INLINE void each_query(score_block const& b, F const& f) {
  for (std::size_t r = 0; r < b.rows; ++r) {
    std::size_t const end = b.visible + r;
    f(r, b.window > 0 && end > b.window ? end - b.window : 0, end);
  }
}

inline void clear_hidden(float* row, std::size_t from, std::size_t end, std::size_t keys) {
  for (std::size_t i = 0; i < from; ++i) row[i] = 0;
  for (std::size_t i = end; i < keys; ++i) row[i] = 0;
}

// A row whose scores are factor times its numbers. -> log Σ exp
inline float soften_row(float* row, std::size_t n, float factor) {
  float const shift = factor * largest_of(row, n);
  float const total = replaced(
      row, n, [&](floats x) __attribute__((always_inline)) { return exp(fma(x, broadcast(factor), broadcast(-shift))); });
  scale(row, n, 1 / total);
  return shift + __builtin_logf(total);
}

inline void causal(score_block const& b, float* log_sum) {
  each_query(b, [&](std::size_t r, std::size_t from, std::size_t end) {
    float* const row = b.scores + r * b.stride;
    if (b.cap > 0) {
      float const before = b.scale / b.cap;
      replaced(row + from, end - from, [&](floats x) __attribute__((always_inline)) { return tanh(x * before) * b.cap; });
    }
    log_sum[r] = soften_row(row + from, end - from, b.cap > 0 ? 1 : b.scale);
    clear_hidden(row, from, end, b.keys);
  });
}

template <bool Capped>
void causal_rows_backward(score_block const& b, float* gradient, float const* log_sum, float const* inner) {
  each_query(b, [&](std::size_t r, std::size_t from, std::size_t end) {
    float *const row = b.scores + r * b.stride, *const g = gradient + r * b.stride;
    floats const shift = broadcast(-log_sum[r]);
    float const mean = inner[r], before = Capped ? b.scale / b.cap : b.scale;
    each(end - from, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats p, slope = broadcast(b.scale);
      if constexpr (Capped) {
        floats const t = tanh(load(row + from + i, some) * before);
        p = exp(fma(t, broadcast(b.cap), shift));
        slope = fma(-t, t, broadcast(1.0F)) * b.scale;
      } else {
        p = exp(fma(load(row + from + i, some), broadcast(before), shift));
      }
      store(row + from + i, p, some);
      store(g + from + i, p * (load(g + from + i, some) - mean) * slope, some);
    });
    clear_hidden(row, from, end, b.keys);
    clear_hidden(g, from, end, b.keys);
  });
}

inline void causal_backward(score_block const& b, float* gradient, float const* log_sum, float const* inner) {
  b.cap > 0 ? causal_rows_backward<true>(b, gradient, log_sum, inner)
            : causal_rows_backward<false>(b, gradient, log_sum, inner);
}

inline float dot(float const* a, float const* b, std::size_t n) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some)
              __attribute__((always_inline)) { total = fma(load(a + i, some), load(b + i, some), total); });
  return sum(total);
}

inline double exp_sum(float const* x, std::size_t n, float shift, float factor) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some)
              __attribute__((always_inline)) { total += keep(exp((load(x + i, some) - shift) * factor), some, zero()); });
  return static_cast<double>(sum(total));
}

inline constexpr softmax_kernels table{softmax, causal, causal_backward, dot, largest_of, exp_sum, distribution};

}  // namespace softmax
}  // namespace kedge::llm::KEDGE_ISA
#endif
