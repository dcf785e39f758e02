// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include <kedge/concepts.hpp>

namespace kedge {

/// Throws unless the weights sum to one, within rounding of n additions.
inline void require_affine(std::span<double const> weights) {
  double sum = 0;
  for (double const weight : weights) sum += weight;
  detail::require(std::abs(sum - 1) <= 1e-9, "affine combination: weights sum to ", sum,
                  "; they must sum to 1 (divide them by their sum)");
}

/// Affine combination of points: soup, SALSA's anchor, EMA, WiSE-FT, ExPO, Nesterov extrapolation.
/// math    Σ_i w_i θ_i with Σ_i w_i = 1; weights may be negative or above one       docs/math.md (8)
/// throws  std::invalid_argument if there are no points, counts differ or the weights don't sum to one
/// cost    one copy of a point, n - 1 passes
template <tensor T>
[[nodiscard]] T affine_combination(std::span<double const> weights, std::span<T const* const> points) {
  detail::require(!points.empty(), "affine combination: no points; pass at least one");
  detail::require(weights.size() == points.size(), "affine combination: ", weights.size(), " weights for ", points.size(),
                  " points; pass one weight a point");
  require_affine(weights);
  T result = deep_copy(*points[0]);
  if (points.size() == 1) return result;
  axpby(weights[0], *points[0], 0, result);
  for (std::size_t i = 1; i < points.size(); ++i) axpby(weights[i], *points[i], 1, result);
  return result;
}

/// The same for points held by value.
template <tensor T>
[[nodiscard]] T affine_combination(std::span<double const> weights, std::span<T const> points) {
  std::vector<T const*> addresses;
  addresses.reserve(points.size());
  for (T const& point : points) addresses.push_back(&point);
  return affine_combination<T>(weights, std::span<T const* const>(addresses));
}

/// θ̂ + α (θ̂ − θ̂′), written over θ̂′.                                            docs/math.md (5)
/// With α = 0, θ̂′ becomes θ̂ bit for bit.
template <tensor T>
void extrapolate_over(T const& now, double alpha, T& before) {
  axpby(1 + alpha, now, -alpha, before);
}

/// Mean of the points added so far: a soup, stochastic weight averaging.
/// The mean is kept in the points' own type; add points of at least single precision.
template <tensor T>
class running_mean {
 public:
  void add(T const& point) {
    ++count_;
    if (!mean_)
      mean_ = deep_copy(point);
    else
      axpby(1.0 / static_cast<double>(count_), point, 1 - 1.0 / static_cast<double>(count_), *mean_);
  }

  [[nodiscard]] std::size_t count() const { return count_; }

  /// throws  std::invalid_argument if nothing was added
  [[nodiscard]] T const& mean() const {
    detail::require(mean_.has_value(), "running_mean: no points; add at least one");
    return *mean_;
  }

 private:
  std::optional<T> mean_;
  std::size_t count_ = 0;
};

}  // namespace kedge
