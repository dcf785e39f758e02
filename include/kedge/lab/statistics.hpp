// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <kedge/detail/check.hpp>
#include <kedge/lab/fit.hpp>

// What independent repetitions say: intervals, one-sided tests, equivalence, and several claims at once.

namespace kedge::lab {

namespace statistics {

// Continued fraction of the incomplete beta function, by Lentz's method.                          Abramowitz, Stegun 26.5.8
inline double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < tiny ? tiny : d);
  double value = d;
  for (int m = 1; m <= 500; ++m) {
    double const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    double const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1;
    for (double const term : {even, odd}) {
      d = 1 + term * d;
      c = 1 + term / c;
      d = 1 / (std::abs(d) < tiny ? tiny : d);
      if (std::abs(c) < tiny) c = tiny;
      change = c * d;
      value *= change;
    }
    if (std::abs(change - 1) < 1e-15) break;
  }
  return value;
}

}  // namespace statistics

/// I_x(a, b), the incomplete beta function over the whole one; a, b > 0, 0 ≤ x ≤ 1.
[[nodiscard]] inline double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  double const front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * statistics::beta_fraction(a, b, x) / a
                                   : 1 - front * statistics::beta_fraction(b, a, 1 - x) / b;
}

/// P(T > t) of Student's t with n degrees of freedom.
[[nodiscard]] inline double student_t_above(double t, double n) {
  double const tail = incomplete_beta(n / 2, 0.5, n / (n + t * t)) / 2;
  return t >= 0 ? tail : 1 - tail;
}

/// The t with P(|T| > t) = 1 − level, by bisection.
[[nodiscard]] inline double student_t_two_sided(double level, double n) {
  double low = 0, high = 1e6;
  for (int i = 0; i < 200; ++i) {
    double const middle = (low + high) / 2;
    (2 * student_t_above(middle, n) > 1 - level ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// Mean of independent values with an interval of Student's t.
struct interval {
  double mean, low, high;
};

/// throws  std::invalid_argument for fewer than two values
[[nodiscard]] inline interval mean_interval(std::span<double const> values, double level = 0.95) {
  auto const [mean, error] = estimate_mean(values);
  double const half = student_t_two_sided(level, static_cast<double>(values.size()) - 1) * error;
  return {mean, mean - half, mean + half};
}

/// p-value of "the mean is at most `bound`", one-sided: small says that it is above.
[[nodiscard]] inline double p_above(std::span<double const> values, double bound) {
  auto const [mean, error] = estimate_mean(values);
  if (error == 0) return mean > bound ? 0 : 1;
  return student_t_above((mean - bound) / error, static_cast<double>(values.size()) - 1);
}

/// p-value of "the mean is at least `bound`": small says that it is below.
[[nodiscard]] inline double p_below(std::span<double const> values, double bound) {
  auto const [mean, error] = estimate_mean(values);
  if (error == 0) return mean < bound ? 0 : 1;
  return student_t_above((bound - mean) / error, static_cast<double>(values.size()) - 1);
}

/// p-value of "the mean is `margin` or more away from `center`", by two one-sided tests: small says that they are equivalent.
/// Schuirmann 1987
[[nodiscard]] inline double p_equivalent(std::span<double const> values, double center, double margin) {
  return std::max(p_above(values, center - margin), p_below(values, center + margin));
}

/// Holm's adjusted p-values: those below a level may all be rejected, and the chance of one wrong among them is at most the level.
/// math    of p sorted ascending, max over j ≤ i of min(1, (m − j) p_j), j from 0                              Holm 1979
[[nodiscard]] inline std::vector<double> holm_adjusted(std::span<double const> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return p[i] < p[j]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

}  // namespace kedge::lab
