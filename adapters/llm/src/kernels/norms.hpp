// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace kedge::llm {

/// RMS normalisation of a row in Hugging Face's order: scaled, rounded, weighted, rounded.
struct row_norm {
  float const* x;
  float const* weight;
  float* out;
  std::size_t n;
  float eps;
  bool bf16;  ///< numbers are rounded to bf16
};

/// Norms and rotations, fp32, rows of n numbers in a row. Each does in one pass what plain tensor operations do in many. A row's results
/// depend on that row alone.
struct norm_kernels {
  /// 1/√(mean x² + eps) of each row.
  void (*inverse_rms)(float const* x, std::size_t rows, std::size_t n, float eps, float* inverse);
  /// out = x · inverse · weight.
  void (*scale)(float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* out);
  /// Backward step of both together: adds to gx, and to the weight's gradient.
  void (*scale_backward)(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* gx,
                         float* weight_gradient);
  /// A row's norm, for steps of generation.
  void (*normalise)(row_norm const&);
  /// Rotates the halves of `heads` vectors of d numbers in each row by the row's angles, sines times direction. cosine, sine: [rows, d/2]
  void (*rotate)(float* x, float const* cosine, float const* sine, std::size_t rows, std::size_t heads, std::size_t d, float direction);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace norm {

inline float root_inverse(float mean) { return 1 / __builtin_sqrtf(mean); }

inline float sum_of_squares(float const* x, std::size_t n) {
  floats squares = zero();
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const v = load(x + i, some);
    squares = fma(v, v, squares);
  });
  return sum(squares);
}

inline void inverse_rms(float const* x, std::size_t rows, std::size_t n, float eps, float* inverse) {
  for (std::size_t r = 0; r < rows; ++r, x += n) inverse[r] = root_inverse(sum_of_squares(x, n) / static_cast<float>(n) + eps);
}

inline void scale(float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* out) {
  for (std::size_t r = 0; r < rows; ++r, x += n, out += n) {
    floats const factor = broadcast(inverse[r]);
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      store(out + i, load(x + i, some) * factor * load(weight + i, some), some);
    });
  }
}

// With y = x · inverse: gx += inverse · (g ∘ w − y · mean(g ∘ w ∘ y)), gw += g ∘ y.
inline void scale_backward(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* gx,
                           float* weight_gradient) {
  for (std::size_t r = 0; r < rows; ++r, g += n, x += n, gx += n) {
    floats const factor = broadcast(inverse[r]);
    floats along = zero();
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const gy = load(g + i, some) * (load(x + i, some) * factor);
      along = fma(gy, load(weight + i, some), along);
      store(weight_gradient + i, load(weight_gradient + i, some) + gy, some);
    });
    floats const mean = broadcast(-sum(along) / static_cast<float>(n));
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const y = load(x + i, some) * factor;
      floats const inner = fma(y, mean, load(g + i, some) * load(weight + i, some));
      store(gx + i, fma(inner, factor, load(gx + i, some)), some);
    });
  }
}

template <bool Bf16>
void normalise_row(row_norm const& r) {
  floats const factor = broadcast(root_inverse(sum_of_squares(r.x, r.n) / static_cast<float>(r.n) + r.eps));
  each(r.n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    store(r.out + i, rounded<Bf16>(rounded<Bf16>(load(r.x + i, some) * factor) * load(r.weight + i, some)), some);
  });
}

inline void normalise(row_norm const& r) { r.bf16 ? normalise_row<true>(r) : normalise_row<false>(r); }

inline void rotate(float* x, float const* cosine, float const* sine, std::size_t rows, std::size_t heads, std::size_t d, float direction) {
  std::size_t const half = d / 2;
  for (std::size_t r = 0; r < rows; ++r, cosine += half, sine += half)
    for (std::size_t h = 0; h < heads; ++h, x += d)
      each(half, [&](std::size_t i, auto some) __attribute__((always_inline)) {
        floats const c = load(cosine + i, some), s = load(sine + i, some) * direction;
        floats const left = load(x + i, some), right = load(x + half + i, some);
        store(x + i, fma(-right, s, left * c), some);
        store(x + half + i, fma(left, s, right * c), some);
      });
}

inline constexpr norm_kernels table{inverse_rms, scale, scale_backward, normalise, rotate};

}  // namespace norm
}  // namespace kedge::llm::KEDGE_ISA
#endif
