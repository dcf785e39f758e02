// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <kedge/lab/drawing/page.hpp>
#include <kedge/lab/drawing/plot.hpp>

namespace kedge::lab::drawing {
namespace svg {

inline constexpr double width = 720, height = 400, left = 74, right = 20, top = 34, bottom = 52, legend_line = 19;

inline std::string fixed(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1f", x);
  return buffer;
}

struct axis {
  bool log;
  double low, high;  // of the values, or of their decimal logarithms
  [[nodiscard]] bool shows(double x) const { return std::isfinite(x) && (!log || x > 0); }
  [[nodiscard]] double place(double x) const { return ((log ? std::log10(x) : x) - low) / (high - low); }
};

inline axis make_axis(bool log, std::vector<double> const& values) {
  axis a{log, 1e300, -1e300};
  for (double const x : values) {
    if (!a.shows(x)) continue;
    a.low = std::min(a.low, log ? std::log10(x) : x);
    a.high = std::max(a.high, log ? std::log10(x) : x);
  }
  if (a.low > a.high) a.low = 0, a.high = 1;
  if (a.high - a.low < 1e-12) a.low -= 0.5, a.high += 0.5;
  return a;
}

inline std::vector<double> ticks(axis const& a) {
  std::vector<double> marks;
  double const span = a.high - a.low;
  double step = std::pow(10, std::floor(std::log10(span / 5)));
  for (double const factor : {5.0, 2.0})
    if (span / (step * factor) >= 4) {
      step *= factor;
      break;
    }
  if (a.log) step = std::max(1.0, std::ceil(span / 8));
  for (double mark = std::ceil(a.low / step - 1e-9) * step; mark <= a.high + 1e-9 * span; mark += step)
    marks.push_back(a.log ? std::pow(10, mark) : std::abs(mark) < step * 1e-9 ? 0 : mark);
  if (a.log && marks.size() < 2)  // less than a decade: its multiples
    for (double const x : {1.0, 2.0, 5.0})
      for (double decade = std::floor(a.low); decade <= a.high; ++decade) {
        double const mark = x * std::pow(10, decade);
        if (std::log10(mark) >= a.low && std::log10(mark) <= a.high &&
            std::find(marks.begin(), marks.end(), mark) == marks.end())
          marks.push_back(mark);
      }
  return marks;
}

// At most a few hundred points, evenly spread over the drawn axis.
inline std::string path(curve const& c, axis const& xs, axis const& ys, double plot_height) {
  std::string d;
  double last = -1e9;
  bool pen_down = false;
  for (std::size_t i = 0; i < c.y.size(); ++i) {
    double const x = abscissa(c, i);
    if (!xs.shows(x) || !ys.shows(c.y[i])) {
      pen_down = false;
      continue;
    }
    double const px = left + xs.place(x) * (width - left - right);
    if (pen_down && i + 1 < c.y.size() && std::abs(px - last) < 1.5) continue;
    last = px;
    d += (pen_down ? " L" : " M") + fixed(px) + " " + fixed(top + (1 - ys.place(c.y[i])) * plot_height);
    pen_down = true;
  }
  return d;
}

// A circle; in the second round of colours a square.
inline std::string mark(double x, double y, std::string const& kind, bool square) {
  if (square) return "<rect class=\"" + kind + "\" width=\"8\" height=\"8\" x=\"" + fixed(x - 4) + "\" y=\"" + fixed(y - 4) + "\"/>";
  return "<circle class=\"" + kind + "\" r=\"4.5\" cx=\"" + fixed(x) + "\" cy=\"" + fixed(y) + "\"/>";
}

inline std::string all_marks(curve const& c, axis const& xs, axis const& ys, double plot_height, std::string const& kind, bool square) {
  std::string out;
  for (std::size_t i = 0; i < c.y.size(); ++i) {
    double const x = abscissa(c, i);
    if (!xs.shows(x) || !ys.shows(c.y[i])) continue;
    out += mark(left + xs.place(x) * (width - left - right), top + (1 - ys.place(c.y[i])) * plot_height, kind, square);
  }
  return out;
}

// The interval of an average, as one closed shape.
inline std::string band(curve const& c, axis const& xs, axis const& ys, double plot_height) {
  std::string d;
  auto add = [&](double x, double y) {
    if (!xs.shows(x) || !ys.shows(y)) return;
    double const level = std::clamp(ys.place(y), 0.0, 1.0);
    d += (d.empty() ? "M" : " L") + fixed(left + xs.place(x) * (width - left - right)) + " " + fixed(top + (1 - level) * plot_height);
  };
  std::size_t const n = std::min(c.low.size(), c.high.size()), stride = n / 200 + 1;
  if (n == 0) return d;
  for (std::size_t i = 0; i < n; i += stride) add(abscissa(c, i), c.high[i]);
  for (std::size_t i = (n - 1) / stride * stride + stride; i >= stride; i -= stride) add(abscissa(c, i - stride), c.low[i - stride]);
  return d + " Z";
}

}  // namespace svg

/// The plot as SVG whose classes page() styles; values that an axis can't show are left out.
[[nodiscard]] inline std::string to_svg(plot const& p) {
  using namespace svg;
  std::vector<double> all_x, all_y;
  for (curve const& c : p.curves)
    for (std::size_t i = 0; i < c.y.size(); ++i) {
      double const x = abscissa(c, i);
      if (!std::isfinite(c.y[i]) || (p.log_y && c.y[i] <= 0) || (p.log_x && x <= 0)) continue;
      all_x.push_back(x);
      all_y.push_back(c.y[i]);
    }
  axis const xs = make_axis(p.log_x, all_x), ys = make_axis(p.log_y, all_y);
  double const plot_height = height - top - bottom, floor = top + plot_height;
  auto const named = std::count_if(p.curves.begin(), p.curves.end(), [](curve const& c) { return c.style != line::thin; });
  double const total = height + legend_line * static_cast<double>(named) + 6;
  std::string out = "<svg viewBox=\"0 0 " + fixed(width) + " " + fixed(total) + "\" role=\"img\" aria-label=\"" +
                    escaped(p.title) + "\"><title>" + escaped(p.title) + "</title><text class=\"heading\" x=\"" + fixed(left) +
                    "\" y=\"18\">" + escaped(p.title) + "</text>\n";
  for (double const mark : ticks(xs)) {
    std::string const x = fixed(left + xs.place(mark) * (width - left - right));
    out += "<line class=\"grid\" x1=\"" + x + "\" x2=\"" + x + "\" y1=\"" + fixed(top) + "\" y2=\"" + fixed(floor) +
           "\"/><text text-anchor=\"middle\" x=\"" + x + "\" y=\"" + fixed(floor + 17) + "\">" + text(mark) + "</text>";
  }
  for (double const mark : ticks(ys)) {
    std::string const y = fixed(top + (1 - ys.place(mark)) * plot_height);
    out += "<line class=\"grid\" x1=\"" + fixed(left) + "\" x2=\"" + fixed(width - right) + "\" y1=\"" + y + "\" y2=\"" + y +
           "\"/><text text-anchor=\"end\" dominant-baseline=\"middle\" x=\"" + fixed(left - 7) + "\" y=\"" + y + "\">" +
           text(mark) + "</text>";
  }
  out += "<text text-anchor=\"middle\" x=\"" + fixed((left + width - right) / 2) + "\" y=\"" + fixed(floor + 38) + "\">" +
         escaped(p.x_label) + "</text><text text-anchor=\"middle\" transform=\"translate(15 " + fixed(top + plot_height / 2) +
         ") rotate(-90)\">" + escaped(p.y_label) + "</text>\n";
  std::size_t color = 0;
  double legend = height + 4;
  for (curve const& c : p.curves) {
    if (c.style == line::thin) {
      out += "<path class=\"thin c" + std::to_string((color + 7) % 8) + "\" d=\"" + path(c, xs, ys, plot_height) + "\"/>\n";
      continue;
    }
    std::string const kind = c.style == line::measured ? "measured c" + std::to_string(color++ % 8)
                             : c.style == line::marks  ? "marks c" + std::to_string(color++ % 8)
                             : c.style == line::exact  ? "exact"
                                                       : "bound";
    if (!c.low.empty() && c.style == line::measured)
      out += "<path class=\"band c" + std::to_string((color + 7) % 8) + "\" d=\"" + band(c, xs, ys, plot_height) + "\"/>\n";
    std::string const at = fixed(left), height_of_line = fixed(legend);
    if (c.style == line::marks)
      out += all_marks(c, xs, ys, plot_height, kind, color > 8) + "\n" + mark(left + 17, legend, kind, color > 8);
    else
      out += "<path class=\"" + kind + "\" d=\"" + path(c, xs, ys, plot_height) + "\"/>\n<path class=\"" + kind + "\" d=\"M" + at + " " + height_of_line + " h34\"/>";
    out += "<text dominant-baseline=\"middle\" x=\"" + fixed(left + 42) + "\" y=\"" + height_of_line + "\">" + escaped(c.name) + "</text>\n";
    legend += legend_line;
  }
  return out + "</svg>\n";
}

}  // namespace kedge::lab::drawing
