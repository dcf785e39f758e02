// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace kedge_drawing {

/// measured: thick and coloured; thin: one run of several, faint, in the colour of the measured curve before it, without a name
/// of its own; marks: circles, in a colour of their own, squares where the colours begin again; exact and bound: dashed and dotted.
enum class line { measured, exact, bound, thin, marks };

struct curve {
  std::string name;
  std::vector<double> y;
  line style = line::measured;
  std::vector<double> x{};  // empty: 1, 2, …
};

struct plot {
  std::string title, x_label, y_label;
  bool log_x = true, log_y = true;
  std::vector<curve> curves{};
};

/// A number with at most six digits.
[[nodiscard]] std::string text(double x);

/// The plot as SVG whose classes page() styles; values that an axis can't show are left out.
[[nodiscard]] std::string to_svg(plot const& p);

}  // namespace kedge_drawing
