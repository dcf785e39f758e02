// SPDX-License-Identifier: Apache-2.0
#include "coefficients.hpp"

#include <algorithm>  // clamp, max
#include <cmath>      // acos, cos, sin, sqrt
#include <numeric>    // accumulate

#include <kedge/llm/files/error.hpp>

namespace kedge::llm {
namespace {

using coefficients = std::vector<double>;

double norm(gram_matrix const& gram, std::size_t i) { return std::sqrt(std::max(0.0, gram(i, i))); }

/// aᵀ G b.
double product(gram_matrix const& gram, coefficients const& a, coefficients const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = 0; j < gram.n; ++j) sum += a[i] * gram(i, j) * b[j];
  return sum;
}

double norm(gram_matrix const& gram, coefficients const& a) { return std::sqrt(std::max(0.0, product(gram, a, a))); }

/// The Gram matrix of the vectors times `scale`, one factor a vector.
gram_matrix scaled(gram_matrix gram, coefficients const& scale) {
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = 0; j < gram.n; ++j) gram.products[i * gram.n + j] *= scale[i] * scale[j];
  return gram;
}

coefficients great_circle(double cosine, double t) {
  double const angle = std::acos(cosine);
  return {std::sin((1 - t) * angle) / std::sin(angle), std::sin(t * angle) / std::sin(angle)};
}

}  // namespace

coefficients slerp_coefficients(gram_matrix const& gram, double t) {
  constexpr double smallest_norm = 1e-8, straight = 0.9995;
  double const a = norm(gram, 0), b = norm(gram, 1);
  double const cosine = std::clamp(gram(0, 1) / (a > smallest_norm ? a : 1) / (b > smallest_norm ? b : 1), -1.0, 1.0);
  if (std::abs(cosine) > straight) return {1 - t, t};
  return great_circle(cosine, t);
}

coefficients nuslerp_coefficients(gram_matrix const& gram, coefficients const& weight) {
  constexpr double smallest_norm = 1e-7, smallest_sum = 1e-6, smallest_square = 1e-16;
  double const sum = weight[0] + weight[1];
  double const t = std::abs(sum) < smallest_sum ? 0.5 : weight[1] / sum;
  double const norms = std::max(norm(gram, 0), smallest_norm) * std::max(norm(gram, 1), smallest_norm);
  double const cosine = std::clamp(gram(0, 1) / norms, -1.0, 1.0);
  if (1 - cosine * cosine <= smallest_square) return {1 - t, t};
  return great_circle(cosine, t);
}

coefficients multislerp_coefficients(gram_matrix const& gram, coefficients weight, bool normalize, double eps,
                                     std::string const& name) {
  std::size_t const n = gram.n;
  if (double const sum = std::accumulate(weight.begin(), weight.end(), 0.0); normalize) {
    if (sum == 0) throw error(name + ": the weights sum to zero, so that they cannot be normalized");
    for (double& w : weight) w /= sum;
  }
  coefficients inverse(n);
  double mean_of_norms = 0;
  for (std::size_t i = 0; i < n; ++i) {
    inverse[i] = 1 / (norm(gram, i) + eps);
    mean_of_norms += norm(gram, i) * weight[i];
  }
  gram_matrix const units = scaled(gram, inverse);
  double const length = norm(units, weight);
  if (length < eps) {
    if (n == 2) return weight;
    throw error(name + ": the weighted sum of the normalized models is zero; choose other weights");
  }
  coefficients mean = weight, tangent = weight;
  for (double& m : mean) m /= length;
  double along = 0;  // of the weighted units on the mean: what the tangent plane does not see
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) along += weight[i] * units(i, j) * mean[j];
  for (std::size_t i = 0; i < n; ++i) tangent[i] -= along * mean[i];
  double const angle = norm(units, tangent) + eps;
  coefficients out(n);
  for (std::size_t i = 0; i < n; ++i)
    out[i] = (mean[i] * std::cos(angle) + tangent[i] * (std::sin(angle) / angle)) * mean_of_norms * inverse[i];
  return out;
}

coefficients karcher_coefficients(gram_matrix const& gram, std::size_t max_iter, double tol) {
  std::size_t const n = gram.n;
  coefficients inverse(n), share(n);
  std::size_t valid = 0, first = n;
  double mean_of_norms = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double const length = norm(gram, i);
    mean_of_norms += length / static_cast<double>(n);
    if (length <= tol) continue;
    inverse[i] = 1 / length;
    first = std::min(first, i);
    ++valid;
  }
  if (valid == 0) return coefficients(n);
  for (std::size_t i = 0; i < n; ++i) share[i] = inverse[i] > 0 ? 1 / static_cast<double>(valid) : 0;
  gram_matrix const units = scaled(gram, inverse);
  coefficients mean = share;
  if (double const length = norm(units, mean); length < tol) {
    mean.assign(n, 0);
    mean[first] = 1;
  } else {
    for (double& m : mean) m /= length;
  }
  for (std::size_t step = 0; step < max_iter; ++step) {
    coefficients tangent(n);
    for (std::size_t i = 0; i < n; ++i) {
      double cosine = 0;
      for (std::size_t j = 0; j < n; ++j) cosine += units(i, j) * mean[j];
      double const angle = std::acos(std::clamp(cosine, -1.0, 1.0));
      if (share[i] == 0 || angle < tol) continue;
      double const factor = share[i] * angle / std::sin(angle);
      tangent[i] += factor;
      for (std::size_t j = 0; j < n; ++j) tangent[j] -= factor * cosine * mean[j];
    }
    double const length = norm(units, tangent);
    if (length < tol) break;
    for (std::size_t i = 0; i < n; ++i) mean[i] = std::cos(length) * mean[i] + std::sin(length) * tangent[i] / length;
    if (double const unit = norm(units, mean); unit > tol)
      for (double& m : mean) m /= unit;
  }
  for (std::size_t i = 0; i < n; ++i) mean[i] *= inverse[i] * mean_of_norms;
  return mean;
}

coefficients model_stock_coefficients(gram_matrix const& gram) {
  constexpr double smallest_product = 1e-6, singular = 1e-6;
  auto const n = static_cast<double>(gram.n);
  double cosine = 0;
  for (std::size_t i = 0; i < gram.n; ++i)
    for (std::size_t j = i + 1; j < gram.n; ++j)
      cosine += std::clamp(gram(i, j) / std::max(norm(gram, i) * norm(gram, j), smallest_product), -1.0, 1.0);
  cosine /= n * (n - 1) / 2;
  double const denominator = 1 + (n - 1) * cosine;
  double const t = std::abs(denominator) < singular ? 0 : n * cosine / denominator;
  return coefficients(gram.n, t / n);
}

}  // namespace kedge::llm
