// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace kedge::llm {

/// RMS normalisation of a row in Hugging Face's order: scaled, rounded, weighted, rounded.
struct row_norm {
  float const* x;
  float const* weight;
  float* out;  ///< may be x
  std::size_t n;
  float eps;
  bool bf16;     ///< numbers are rounded to bf16
  bool centred;  ///< layer normalisation: of x less its mean
  bool once;     ///< rounded at the end alone
};

/// Vectors in rows of `heads`, d numbers each, of which the first 2 · half turn: the halves of these, or neighbours.
struct rotated_rows {
  float* x;
  float const *cosine, *sine;  ///< [rows, half]
  std::size_t rows, heads, d, half;
  float direction;   ///< of the sines
  bool interleaved;  ///< neighbours are a pair
  bool bf16;         ///< numbers that turn are rounded to bf16
};

/// Norms and rotations, fp32, rows of n numbers in a row. Each does in one pass what plain tensor operations do in many. A row's results
/// depend on that row alone.
struct norm_kernels {
  /// 1/√(mean x² + eps) of each row.
  void (*inverse_rms)(float const* x, std::size_t rows, std::size_t n, float eps, float* inverse);
  /// out = x · inverse · weight.
  void (*scale)(float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* out);
  /// Backward step of both together: adds to gx, and to the weight's gradient.
  void (*scale_backward)(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows,
                         std::size_t n, float* gx, float* weight_gradient);
  /// A row's norm, for steps of generation.
  void (*normalise)(row_norm const&);
  /// out = x − mean x, row by row.
  void (*centre)(float const* x, std::size_t rows, std::size_t n, float* out);
  /// A row's pairs turn by the row's angles.
  void (*rotate)(rotated_rows const&);
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
    each(n, [&](std::size_t i, auto some)
                __attribute__((always_inline)) { store(out + i, load(x + i, some) * factor * load(weight + i, some), some); });
  }
}

// With y = x · inverse: gx += inverse · (g ∘ w − y · mean(g ∘ w ∘ y)), gw += g ∘ y.
inline void scale_backward(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows,
                           std::size_t n, float* gx, float* weight_gradient) {
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

inline float mean_of(float const* x, std::size_t n) {
  floats total = zero();
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { total += load(x + i, some); });
  return sum(total) / static_cast<float>(n);
}

inline void centre(float const* x, std::size_t rows, std::size_t n, float* out) {
  for (std::size_t r = 0; r < rows; ++r, x += n, out += n) {
    float const mean = mean_of(x, n);
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, load(x + i, some) - mean, some); });
  }
}

template <bool Bf16>
void normalise_row(row_norm const& r) {
  if (r.centred) centre(r.x, 1, r.n, r.out);
  float const* const x = r.centred ? r.out : r.x;
  floats const factor = broadcast(root_inverse(sum_of_squares(x, r.n) / static_cast<float>(r.n) + r.eps));
  each(r.n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const y = load(x + i, some) * factor;
    store(r.out + i, rounded<Bf16>((r.once ? y : rounded<Bf16>(y)) * load(r.weight + i, some)), some);
  });
}

inline void normalise(row_norm const& r) { r.bf16 ? normalise_row<true>(r) : normalise_row<false>(r); }

// A pair turns by an angle of which c and s are cosine and sine.
template <bool Bf16>
KEDGE_INLINE void turn(floats& left, floats& right, floats c, floats s) {
  floats const before = left;
  left = rounded<Bf16>(fma(-right, s, before * c));
  right = rounded<Bf16>(fma(before, s, right * c));
}

template <bool Bf16>
void turn_halves(float* x, float const* cosine, float const* sine, std::size_t half, float direction) {
  each(half, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats left = load(x + i, some), right = load(x + half + i, some);
    turn<Bf16>(left, right, load(cosine + i, some), load(sine + i, some) * direction);
    store(x + i, left, some);
    store(x + half + i, right, some);
  });
}

template <bool Bf16>
void turn_neighbours(float* x, float const* cosine, float const* sine, std::size_t half, float direction) {
  auto const even = [](std::size_t j) constexpr { return 2 * j; };
  auto const odd = [](std::size_t j) constexpr { return 2 * j + 1; };
  auto const below = [](std::size_t j) constexpr { return j / 2 + j % 2 * lanes; };
  auto const above = [](std::size_t j) constexpr { return lanes / 2 + j / 2 + j % 2 * lanes; };
  for (std::size_t i = 0; i < half; i += lanes, x += 2 * lanes) {
    std::size_t const pairs = smaller(lanes, half - i), first_pairs = smaller(2 * pairs, lanes);
    part const some = first(pairs), low = first(first_pairs), high = first(2 * pairs - first_pairs);
    floats const a = load(x, low), b = 2 * pairs > lanes ? load(x + lanes, high) : zero();
    floats left = shuffle(a, b, even), right = shuffle(a, b, odd);
    turn<Bf16>(left, right, load(cosine + i, some), load(sine + i, some) * direction);
    store(x, shuffle(left, right, below), low);
    if (2 * pairs > lanes) store(x + lanes, shuffle(left, right, above), high);
  }
}

template <bool Bf16>
void rotate_rows(rotated_rows const& r) {
  auto const turn_one = r.interleaved ? turn_neighbours<Bf16> : turn_halves<Bf16>;
  float* x = r.x;
  for (std::size_t i = 0; i < r.rows; ++i)
    for (std::size_t h = 0; h < r.heads; ++h, x += r.d)
      turn_one(x, r.cosine + i * r.half, r.sine + i * r.half, r.half, r.direction);
}

inline void rotate(rotated_rows const& r) { r.bf16 ? rotate_rows<true>(r) : rotate_rows<false>(r); }

inline constexpr norm_kernels table{inverse_rms, scale, scale_backward, normalise, centre, rotate};

}  // namespace norm
}  // namespace kedge::llm::KEDGE_ISA
#endif
