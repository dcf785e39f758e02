// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include <kedge/detail/order.hpp>
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

struct slerp_weights {
  double from, to;
};

// Where the angle is too small to divide by its sine, the chord is the arc.
inline slerp_weights slerp_by_angle(double cosine, double t) {
  double const clamped = cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
  double const angle = std::acos(clamped), sine = std::sin(angle);
  if (sine < 1e-8) return {1 - t, t};
  return {std::sin((1 - t) * angle) / sine, std::sin(t * angle) / sine};
}

}  // namespace detail

/// Spherical interpolation; Ω is the angle between the points as vectors from `origin`, or from 0.      Ramé et al. 2024 (WARP)
/// math    origin + sin((1−t)Ω)/sin Ω · δ_from + sin(tΩ)/sin Ω · δ_to, δ = point − origin
/// The whole tensor, a pack too, is one vector; tensorwise() makes it one sphere a layer.
/// throws  std::invalid_argument if a point coincides with the origin
template <tensor T>
[[nodiscard]] T slerp(T const& from, T const& to, double t, T const* origin = nullptr) {
  T a = deep_copy(from), b = deep_copy(to);
  if (origin) {
    axpby(-1, *origin, 1, a);
    axpby(-1, *origin, 1, b);
  }
  double const norm = std::sqrt(dot(a, a)) * std::sqrt(dot(b, b));
  detail::require(norm > 0, "slerp: a point lies at the origin, so that there is no angle; interpolate linearly");
  auto const weights = detail::slerp_by_angle(dot(a, b) / norm, t);
  axpby(weights.from, a, weights.to, b);
  if (origin) axpby(1, *origin, 1, b);
  return b;
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
/// throws  std::invalid_argument if there are no points, one is 0, or they are antipodal
template <tensor T>
[[nodiscard]] T karcher_mean(std::span<T const> points, int iterations = 50, double tolerance = 1e-12) {
  detail::require(!points.empty(), "karcher mean: no points; pass at least one");
  auto const n = static_cast<double>(points.size());
  std::vector<T> unit;
  double mean_norm = 0;
  T mean = deep_copy(points[0]);
  for (T const& point : points) {
    double const norm = std::sqrt(dot(point, point));
    detail::require(norm > 0, "karcher mean: a point is 0 and has no direction; leave it out");
    mean_norm += norm / n;
    unit.push_back(deep_copy(point));
    axpby(1 / norm, point, 0, unit.back());
    axpby(1 / (n * norm), point, unit.size() == 1 ? 0 : 1, mean);
  }
  auto to_unit_length = [&mean] {
    double const norm = std::sqrt(dot(mean, mean));
    detail::require(norm > 1e-12, "karcher mean: the points cancel; they have no mean direction");
    axpby(1 / norm, T(deep_copy(mean)), 0, mean);
  };
  to_unit_length();
  for (int i = 0; i < iterations; ++i) {
    T step = deep_copy(mean);
    axpby(0, mean, 0, step);
    for (T const& direction : unit) {
      double const cosine = dot(mean, direction);
      double const angle = std::acos(cosine > 1 ? 1 : cosine < -1 ? -1 : cosine);
      double const scale = angle < 1e-8 ? 1 : angle / std::sin(angle);
      axpby(scale / n, direction, 1, step);
      axpby(-scale * cosine / n, mean, 1, step);
    }
    double const length = std::sqrt(dot(step, step));
    if (length < tolerance) break;
    axpby(std::sin(length) / length, step, std::cos(length), mean);
    to_unit_length();
  }
  axpby(mean_norm, T(deep_copy(mean)), 0, mean);
  return mean;
}

/// Model Stock: t · mean + (1 − t) · base, t = N c / (1 + (N − 1) c), c the mean cosine between the points' deltas.
///                                                                                              Jang et al. 2024
/// throws  std::invalid_argument for fewer than two points, or one that coincides with the base
template <tensor T>
[[nodiscard]] T model_stock(T const& base, std::span<T const> points) {
  detail::require(points.size() > 1, "model stock: ", points.size(), " points; pass at least two");
  std::vector<T> deltas;
  for (T const& point : points) {
    deltas.push_back(deep_copy(point));
    axpby(-1, base, 1, deltas.back());
  }
  double cosines = 0, pairs = 0;
  for (std::size_t i = 0; i < deltas.size(); ++i)
    for (std::size_t j = 0; j < i; ++j, ++pairs) {
      double const norm = std::sqrt(dot(deltas[i], deltas[i])) * std::sqrt(dot(deltas[j], deltas[j]));
      detail::require(norm > 0, "model stock: a point coincides with the base and has no direction; leave it out");
      cosines += dot(deltas[i], deltas[j]) / norm;
    }
  auto const n = static_cast<double>(points.size());
  double const c = cosines / pairs, t = n * c / (1 + (n - 1) * c);
  T result = deep_copy(base);
  axpby(1 - t, base, 0, result);
  for (T const& point : points) axpby(t / n, point, 1, result);
  return result;
}

/// What greedy_soup did: which points it took, in order, and the score of their mean.
template <tensor T>
struct greedy_result {
  T soup;
  std::vector<std::size_t> taken;
  double score;
};

/// Greedy soup: from the best point on, in order of their own scores, take a point if the mean with it scores higher than
/// without.                                                                                       Wortsman et al. 2022
/// cost    n scores of points, n − 1 of means; two copies of a point
/// throws  std::invalid_argument if there are no points
template <tensor T, class Score>
  requires std::is_invocable_r_v<double, Score&, T const&>
[[nodiscard]] greedy_result<T> greedy_soup(std::span<T const> points, Score&& score) {
  detail::require(!points.empty(), "greedy soup: no points; pass at least one");
  std::vector<double> scores;
  for (T const& point : points) scores.push_back(score(point));
  std::vector<double> losses;
  for (double const value : scores) losses.push_back(-value);
  std::vector<std::size_t> const order = detail::ascending_order(losses);
  greedy_result<T> result{deep_copy(points[order[0]]), {order[0]}, scores[order[0]]};
  for (std::size_t i = 1; i < order.size(); ++i) {
    double const share = 1 / static_cast<double>(result.taken.size() + 1);
    T candidate = deep_copy(result.soup);
    axpby(share, points[order[i]], 1 - share, candidate);
    double const value = score(candidate);
    if (!(value > result.score)) continue;
    axpby(1, candidate, 0, result.soup);
    result.score = value;
    result.taken.push_back(order[i]);
  }
  return result;
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
