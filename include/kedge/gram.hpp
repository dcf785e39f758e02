// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <kedge/concepts.hpp>

// Averages whose weights depend on norms and angles: linear combinations of n vectors with coefficients that their inner products
// determine. Points of any size, streamed or whole, take the same coefficients: O(n²) inner products, then one combination.

namespace kedge {

/// Inner products of n vectors, row by row.
struct gram_matrix {
  std::size_t n = 0;
  std::vector<double> products;  ///< [n, n]

  [[nodiscard]] double operator()(std::size_t i, std::size_t j) const { return products[i * n + j]; }
  [[nodiscard]] double norm(std::size_t i) const { return std::sqrt(std::max(0.0, (*this)(i, i))); }
};

/// The Gram matrix of tensors. cost  n (n + 1)/2 inner products
template <tensor T>
[[nodiscard]] gram_matrix gram_of(std::span<T const> vectors) {
  gram_matrix gram{vectors.size(), std::vector<double>(vectors.size() * vectors.size())};
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = 0; j <= i; ++j)
      gram.products[i * gram.n + j] = gram.products[j * gram.n + i] = dot(vectors[i], vectors[j]);
  return gram;
}

namespace detail {

// aᵀ G b.
inline double product(gram_matrix const& gram, std::vector<double> const& a, std::vector<double> const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = 0; j < gram.n; ++j) sum += a[i] * gram(i, j) * b[j];
  return sum;
}

inline double norm(gram_matrix const& gram, std::vector<double> const& a) {
  return std::sqrt(std::max(0.0, product(gram, a, a)));
}

// The Gram matrix of the vectors times `scale`, one factor a vector.
inline gram_matrix scaled(gram_matrix gram, std::vector<double> const& scale) {
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = 0; j < gram.n; ++j) gram.products[i * gram.n + j] *= scale[i] * scale[j];
  return gram;
}

inline std::vector<double> great_circle(double cosine, double t) {
  double const angle = std::acos(cosine);
  return {std::sin((1 - t) * angle) / std::sin(angle), std::sin(t * angle) / std::sin(angle)};
}

inline void require_two(gram_matrix const& gram, char const* what) {
  require(gram.n == 2, what, ": ", gram.n, " vectors; it goes from one vector to one other");
}

// One step of the mean of logarithms at `mean`, a unit vector: the tangent, and its length.
inline std::pair<std::vector<double>, double> karcher_step(gram_matrix const& units, std::vector<double> const& share,
                                                           std::vector<double> const& mean, double tolerance) {
  std::vector<double> tangent(units.n);
  for (std::size_t i = 0; i < units.n; ++i) {
    double cosine = 0;
    for (std::size_t j = 0; j < units.n; ++j) cosine += units(i, j) * mean[j];
    double const angle = std::acos(std::clamp(cosine, -1.0, 1.0));
    if (share[i] == 0 || angle < tolerance) continue;
    double const factor = share[i] * angle / std::sin(angle);
    tangent[i] += factor;
    for (std::size_t j = 0; j < units.n; ++j) tangent[j] -= factor * cosine * mean[j];
  }
  double const length = norm(units, tangent);
  return {std::move(tangent), length};
}

}  // namespace detail

/// Spherical interpolation from vector 0 to vector 1, Ω the angle between them.
/// math    sin((1−t)Ω)/sin Ω, sin(tΩ)/sin Ω; 1 − t, t where |cos Ω| > 0.9995, as in mergekit: the chord is the arc, or there is no arc
/// A norm of at most `smallest_norm` counts as 1.
/// throws  std::invalid_argument unless there are two vectors
[[nodiscard]] inline std::vector<double> slerp_coefficients(gram_matrix const& gram, double t, double smallest_norm = 0) {
  constexpr double straight = 0.9995;
  detail::require_two(gram, "slerp");
  double const a = gram.norm(0), b = gram.norm(1);
  double const cosine = std::clamp(gram(0, 1) / (a > smallest_norm ? a : 1) / (b > smallest_norm ? b : 1), -1.0, 1.0);
  if (std::abs(cosine) > straight) return {1 - t, t};
  return detail::great_circle(cosine, t);
}

/// The same at t = w₁/(w₀ + w₁), ½ where the weights cancel, down to angles that float64 cannot tell from 0 or π.
/// source  mergekit's nuslerp
[[nodiscard]] inline std::vector<double> nuslerp_coefficients(gram_matrix const& gram, std::span<double const> weights) {
  constexpr double smallest_norm = 1e-7, smallest_sum = 1e-6, smallest_square = 1e-16;
  detail::require_two(gram, "nuslerp");
  double const sum = weights[0] + weights[1];
  double const t = std::abs(sum) < smallest_sum ? 0.5 : weights[1] / sum;
  double const norms = std::max(gram.norm(0), smallest_norm) * std::max(gram.norm(1), smallest_norm);
  double const cosine = std::clamp(gram(0, 1) / norms, -1.0, 1.0);
  if (1 - cosine * cosine <= smallest_square) return {1 - t, t};
  return detail::great_circle(cosine, t);
}

/// Barycentre on the sphere through the tangent space at the normalised weighted mean; `eps` is added to norms and angles.
/// throws  std::invalid_argument where weights that are to be normalised sum to zero, or more than two vectors cancel
/// source  mergekit's multislerp
[[nodiscard]] inline std::vector<double> multislerp_coefficients(gram_matrix const& gram, std::vector<double> weights,
                                                                 bool normalize, double eps) {
  std::size_t const n = gram.n;
  if (normalize) {
    double sum = 0;
    for (double const weight : weights) sum += weight;
    detail::require(sum != 0, "the weights sum to zero, so that they cannot be normalized");
    for (double& weight : weights) weight /= sum;
  }
  std::vector<double> inverse(n);
  double mean_of_norms = 0;
  for (std::size_t i = 0; i < n; ++i) {
    inverse[i] = 1 / (gram.norm(i) + eps);
    mean_of_norms += gram.norm(i) * weights[i];
  }
  gram_matrix const units = detail::scaled(gram, inverse);
  double const length = detail::norm(units, weights);
  if (length < eps && n == 2) return weights;
  detail::require(!(length < eps), "the weighted sum of the normalized models is zero; choose other weights");
  std::vector<double> mean = weights, tangent = weights;
  for (double& m : mean) m /= length;
  double const along =
      detail::product(units, weights, mean);  // of the weighted units on the mean: what the tangent plane does not see
  for (std::size_t i = 0; i < n; ++i) tangent[i] -= along * mean[i];
  double const angle = detail::norm(units, tangent) + eps;
  std::vector<double> out(n);
  for (std::size_t i = 0; i < n; ++i)
    out[i] = (mean[i] * std::cos(angle) + tangent[i] * (std::sin(angle) / angle)) * mean_of_norms * inverse[i];
  return out;
}

/// Karcher mean: fixed point of the Riemannian mean on the sphere with equal weights, from the normalised mean on, times the mean of
/// the norms. Vectors not longer than `smallest_norm` have no direction and count for the norm alone; where directions cancel, the
/// iteration begins at the first.
[[nodiscard]] inline std::vector<double> karcher_coefficients(gram_matrix const& gram, std::size_t iterations, double tolerance,
                                                              double smallest_norm = 0) {
  std::size_t const n = gram.n;
  std::vector<double> inverse(n), share(n);
  std::size_t valid = 0, first = n;
  double mean_of_norms = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double const length = gram.norm(i);
    mean_of_norms += length / static_cast<double>(n);
    if (length <= smallest_norm) continue;
    inverse[i] = 1 / length;
    first = std::min(first, i);
    ++valid;
  }
  if (valid == 0) return std::vector<double>(n);
  for (std::size_t i = 0; i < n; ++i) share[i] = inverse[i] > 0 ? 1 / static_cast<double>(valid) : 0;
  gram_matrix const units = detail::scaled(gram, inverse);
  std::vector<double> mean = share;
  if (double const length = detail::norm(units, mean); length < tolerance) {
    mean.assign(n, 0);
    mean[first] = 1;
  } else {
    for (double& m : mean) m /= length;
  }
  for (std::size_t step = 0; step < iterations; ++step) {
    auto const [tangent, length] = detail::karcher_step(units, share, mean, tolerance);
    if (length < tolerance) break;
    for (std::size_t i = 0; i < n; ++i) mean[i] = std::cos(length) * mean[i] + std::sin(length) * tangent[i] / length;
    if (double const unit = detail::norm(units, mean); unit > tolerance)
      for (double& m : mean) m /= unit;
  }
  for (std::size_t i = 0; i < n; ++i) mean[i] *= inverse[i] * mean_of_norms;
  return mean;
}

/// Model Stock: t/n for each of n task vectors, t = n c / (1 + (n − 1) c), c the mean cosine of all pairs. A product of norms counts
/// as `smallest_product` at least; where the denominator vanishes, t is 0.                                     Jang et al. 2024
[[nodiscard]] inline std::vector<double> model_stock_coefficients(gram_matrix const& gram, double smallest_product = 0) {
  constexpr double singular = 1e-6;
  auto const n = static_cast<double>(gram.n);
  double cosine = 0;
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = i + 1; j < gram.n; ++j)
      cosine += std::clamp(gram(i, j) / std::max(gram.norm(i) * gram.norm(j), smallest_product), -1.0, 1.0);
  cosine /= n * (n - 1) / 2;
  double const denominator = 1 + (n - 1) * cosine;
  double const t = std::abs(denominator) < singular ? 0 : n * cosine / denominator;
  return std::vector<double>(gram.n, t / n);
}

}  // namespace kedge
