// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <kedge/gram.hpp>
#include <kedge/soup.hpp>

// Averages of points that need more than fixed weights, and names for the affine combinations of the field.

namespace kedge {

/// WiSE-FT, LITI: (1 − η) θ_0 + η θ; η above one extrapolates (ExPO: η = 1 + α).                  docs/math.md (8)
template <tensor T>
[[nodiscard]] T interpolate(T const& from, T const& to, double eta) {
  T result = deep_copy(from);
  axpby(eta, to, 1 - eta, result);
  return result;
}

/// ExPO: θ_aligned + α (θ_aligned − θ_sft), one extrapolation after training.                     Zheng et al. 2024
template <tensor T>
[[nodiscard]] T expo(T const& aligned, T const& sft, double alpha) {
  return interpolate(sft, aligned, 1 + alpha);
}

/// Task arithmetic: θ_0 + λ Σ_i w_i (θ_i − θ_0).                                               Ilharco et al. 2023
/// throws  std::invalid_argument if counts differ or there are no points
template <tensor T>
[[nodiscard]] T task_arithmetic(T const& base, std::span<double const> weights, std::span<T const> points, double lambda = 1) {
  detail::require(!points.empty() && weights.size() == points.size(), "task arithmetic: ", weights.size(), " weights for ",
                  points.size(), " points; pass at least one point and one weight a point");
  double rest = 1;
  for (double const weight : weights) rest -= lambda * weight;
  T result = deep_copy(base);
  axpby(rest, base, 0, result);
  for (std::size_t i = 0; i < points.size(); ++i) axpby(lambda * weights[i], points[i], 1, result);
  return result;
}

namespace detail {

// [origin +] Σ c_i x_i; without vectors that count, 0.
template <tensor T>
T combination(std::span<double const> coefficients, std::span<T const> vectors, T const* origin) {
  T result = deep_copy(vectors[0]);
  axpby(coefficients[0], vectors[0], 0, result);
  for (std::size_t i = 1; i < vectors.size(); ++i) axpby(coefficients[i], vectors[i], 1, result);
  if (origin) axpby(1, *origin, 1, result);
  return result;
}

// x_i − origin, and a refusal of those that are 0.
template <tensor T>
std::vector<T> directions(std::span<T const* const> points, T const* origin, char const* what) {
  std::vector<T> result;
  for (T const* const point : points) {
    result.push_back(deep_copy(*point));
    if (origin) axpby(-1, *origin, 1, result.back());
    require(dot(result.back(), result.back()) > 0, what,
            ": a point lies at the origin, so that it has no direction; leave it out");
  }
  return result;
}

}  // namespace detail

/// Spherical interpolation; Ω is the angle between the points as vectors from `origin`, or from 0.      Ramé et al. 2024 (WARP)
/// math    origin + sin((1−t)Ω)/sin Ω · δ_from + sin(tΩ)/sin Ω · δ_to, δ = point − origin; linear where |cos Ω| > 0.9995
/// The whole tensor, a pack too, is one vector; tensorwise() makes it one sphere a layer.
/// throws  std::invalid_argument if a point coincides with the origin
template <tensor T>
[[nodiscard]] T slerp(T const& from, T const& to, double t, T const* origin = nullptr) {
  T const* const points[] = {&from, &to};
  std::vector<T> const deltas = detail::directions<T>(points, origin, "slerp");
  std::span<T const> const view(deltas);
  return detail::combination<T>(slerp_coefficients(gram_of(view), t), view, origin);
}

/// Spherical mean of n points: WARP's iterated slerp, mean_n = slerp(mean_{n−1}, θ_n, 1/n).
template <tensor T>
[[nodiscard]] T spherical_mean(std::span<T const> points, T const* origin = nullptr) {
  detail::require(!points.empty(), "spherical mean: no points; pass at least one");
  T mean = deep_copy(points[0]);
  for (std::size_t n = 1; n < points.size(); ++n) mean = slerp(mean, points[n], 1 / static_cast<double>(n + 1), origin);
  return mean;
}

/// Karcher mean: the point of the sphere whose geodesics to the unit vectors of `points` cancel, times their mean norm.
/// At most `iterations` steps of the mean of logarithms; stops where the step is below `tolerance`.
/// throws  std::invalid_argument if there are no points, one is 0, or their directions cancel
template <tensor T>
[[nodiscard]] T karcher_mean(std::span<T const> points, std::size_t iterations = 50, double tolerance = 1e-12) {
  detail::require(!points.empty(), "karcher mean: no points; pass at least one");
  gram_matrix const gram = gram_of(points);
  std::vector<double> inverse;
  for (std::size_t i = 0; i < gram.n; ++i) {
    detail::require(gram(i, i) > 0, "karcher mean: a point is 0 and has no direction; leave it out");
    inverse.push_back(1 / gram.norm(i));
  }
  detail::require(detail::norm(gram, inverse) > 1e-12 * static_cast<double>(gram.n),
                  "karcher mean: the points cancel; they have no mean direction");
  return detail::combination<T>(karcher_coefficients(gram, iterations, tolerance), points, nullptr);
}

/// Model Stock: t · mean + (1 − t) · base, t = N c / (1 + (N − 1) c), c the mean cosine between the points' deltas.
///                                                                                              Jang et al. 2024
/// throws  std::invalid_argument for fewer than two points, or one that coincides with the base
template <tensor T>
[[nodiscard]] T model_stock(T const& base, std::span<T const> points) {
  detail::require(points.size() > 1, "model stock: ", points.size(), " points; pass at least two");
  std::vector<T const*> addresses;
  for (T const& point : points) addresses.push_back(&point);
  std::vector<T> const deltas = detail::directions<T>(addresses, &base, "model stock");
  std::span<T const> const view(deltas);
  return detail::combination<T>(model_stock_coefficients(gram_of(view)), view, &base);
}

/// f applied tensor by tensor to packs of equal shape: tensorwise(f, x, y)[i] = f(x[i], y[i]). One sphere a layer:
/// tensorwise([](auto const& a, auto const& b) { return slerp(a, b, 0.5); }, x, y).
template <tensor T, class F>
[[nodiscard]] std::vector<T> tensorwise(F&& f, std::vector<T> const& x, std::vector<T> const& y) {
  detail::require_same_size(x, y, "tensorwise");
  std::vector<T> result;
  result.reserve(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) result.push_back(f(x[i], y[i]));
  return result;
}

}  // namespace kedge
