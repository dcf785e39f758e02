// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>

namespace kedge::lab {

/// A straight line through points by least squares; stderr is the slope's, from the residuals (NaN for two points).
struct line_fit {
  double slope, intercept, stderr_slope;
};

/// throws  std::invalid_argument if sizes differ or there are fewer than two different x
[[nodiscard]] inline line_fit fit_line(std::span<double const> x, std::span<double const> y) {
  detail::require(x.size() == y.size() && x.size() > 1, "fit_line: ", x.size(), " x and ", y.size(),
                  " y; pass as many of each, at least two");
  auto const n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0, residual = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  detail::require(xx > 0, "fit_line: all x are equal; a slope needs two");
  double const slope = xy / xx, intercept = mean_y - slope * mean_x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const error = y[i] - intercept - slope * x[i];
    residual += error * error;
  }
  double const spread = x.size() > 2 ? std::sqrt(residual / (n - 2) / xx) : std::numeric_limits<double>::quiet_NaN();
  return {slope, intercept, spread};
}

/// Exponent of y ~ t^slope over t = from … to (series[t − 1] is round t), from ten rounds a decade, so that every decade
/// weighs the same.
[[nodiscard]] inline line_fit fit_power(std::span<double const> series, std::size_t from, std::size_t to) {
  detail::require(from >= 1 && to <= series.size(), "fit_power: rounds ", from, " to ", to, " of ", series.size());
  std::vector<double> x, y;
  std::size_t last = 0;
  for (double mark = static_cast<double>(from); std::lround(mark) <= static_cast<long>(to); mark *= std::pow(10, 0.1)) {
    auto const t = static_cast<std::size_t>(std::lround(mark));
    if (t == last) continue;
    last = t;
    x.push_back(std::log(static_cast<double>(t)));
    y.push_back(std::log(series[t - 1]));
  }
  return fit_line(x, y);
}

/// Exponent per round of y ~ e^{slope · t} over t = from … to.
[[nodiscard]] inline line_fit fit_exponential(std::span<double const> series, std::size_t from, std::size_t to) {
  detail::require(from >= 1 && to <= series.size(), "fit_exponential: rounds ", from, " to ", to, " of ", series.size());
  std::vector<double> x, y;
  for (std::size_t t = from; t <= to; ++t) {
    x.push_back(static_cast<double>(t));
    y.push_back(std::log(series[t - 1]));
  }
  return fit_line(x, y);
}

/// Mean of independent repetitions and its standard error.
struct mean_estimate {
  double mean, error;
};

/// throws  std::invalid_argument for fewer than two values
[[nodiscard]] inline mean_estimate estimate_mean(std::span<double const> values) {
  detail::require(values.size() > 1, "estimate_mean: ", values.size(), " values; an error needs at least two");
  auto const n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (double const value : values) mean += value / n;
  for (double const value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

}  // namespace kedge::lab
