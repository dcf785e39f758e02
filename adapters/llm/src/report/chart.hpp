// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace kedge::llm {

/// How a line of a chart is drawn: a curve, or marks on a dotted line, as held-out figures are.
enum class chart_stroke { curve, marks };

/// Values over steps. NaN is a gap.
struct chart_line {
  std::string name;
  std::vector<double> x, y;
  std::size_t colour = 0;  ///< which of the page's colours, dashes and shapes of marks
  chart_stroke stroke = chart_stroke::curve;
};

/// A place on the axis of steps that is marked: where a round begins.
struct chart_border {
  double x = 0;
  std::string name;
};

struct chart {
  std::string title, unit;
  std::vector<chart_line> lines;
  std::vector<chart_border> borders;
};

inline constexpr std::size_t chart_colours = 8;

/// Which points are drawn: of each pixel column the first, the last, the lowest and the highest, so that the drawn curve has every peak.
/// x: rising
[[nodiscard]] std::vector<std::size_t> thinned(std::span<double const> x, std::span<double const> y, double low, double high,
                                               std::size_t columns);

/// Where an axis from `low` to `high` has its ticks: about `count` multiples of 1, 2 or 5 times a power of ten.
[[nodiscard]] std::vector<double> ticks_between(double low, double high, int count);

/// The texts of ticks: as many digits as tell them apart.
[[nodiscard]] std::vector<std::string> tick_texts(std::vector<double> const& ticks);

/// A figure with title, legend and SVG, for the page's style; and, for the page's script, the drawn values in an attribute.
[[nodiscard]] std::string to_html(chart const& c);

}  // namespace kedge::llm
