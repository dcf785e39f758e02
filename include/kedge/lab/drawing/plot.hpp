// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace kedge::lab::drawing {

/// measured: thick and coloured; thin: one run of several, faint, in the colour of the measured curve before it, without a name
/// of its own; marks: circles, in a colour of their own, squares where the colours begin again; exact and bound: dashed and dotted.
enum class line { measured, exact, bound, thin, marks };

struct curve {
  std::string name;
  std::vector<double> y;
  line style = line::measured;
  std::vector<double> x{};  // empty: 1, 2, …
  std::vector<double> low{}, high{};  // of an average: its interval, drawn as a band; empty: none
};

struct plot {
  std::string title, x_label, y_label;
  bool log_x = true, log_y = true;
  std::vector<curve> curves{};
};

/// A number with at most six digits.
[[nodiscard]] inline std::string text(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", x);
  return buffer;
}

/// The x of point i of a curve.
[[nodiscard]] inline double abscissa(curve const& c, std::size_t i) { return c.x.empty() ? static_cast<double>(i + 1) : c.x[i]; }

}  // namespace kedge::lab::drawing
