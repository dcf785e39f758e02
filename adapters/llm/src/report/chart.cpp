// SPDX-License-Identifier: Apache-2.0
#include "chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "markup.hpp"

namespace kedge::llm {
namespace {

// Of the drawing, in units that are about pixels: a page shows it 340 to 420 of them wide.
constexpr double width = 400, height = 216, left = 50, right = 12, top = 16, bottom = 24;
constexpr std::size_t columns = static_cast<std::size_t>(width - left - right);

struct span_of {
  double low, high;
  [[nodiscard]] double share(double v) const { return (v - low) / (high - low); }
};

double at_x(span_of const& s, double x) { return left + s.share(x) * (width - left - right); }
double at_y(span_of const& s, double y) { return top + (1 - s.share(y)) * (height - top - bottom); }

template <class Values>
span_of span_of_lines(std::vector<chart_line> const& lines, Values values) {
  span_of s{INFINITY, -INFINITY};
  for (chart_line const& line : lines)
    for (double const v : line.*values)
      if (std::isfinite(v)) s = {std::min(s.low, v), std::max(s.high, v)};
  if (s.low > s.high) s = {0, 1};
  return s;
}

// Some air above and below. A flat line lies in the middle.
span_of with_air(span_of s) {
  double const size = std::max(std::abs(s.low), std::abs(s.high));
  double const air = s.high - s.low > 1e-9 * size ? 0.06 * (s.high - s.low) : size > 0 ? 0.1 * size : 1;
  return {s.low - air, s.high + air};
}

std::string tenth(double x) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", x);
  return text.data();
}

std::string label(double x, double y, char const* anchor, std::string const& text) {
  return "<text x=\"" + tenth(x) + "\" y=\"" + tenth(y) + "\" text-anchor=\"" + anchor + "\">" + escaped(text) + "</text>";
}

std::string grid_line(double x1, double y1, double x2, double y2, char const* kind) {
  return "<line class=\"" + std::string(kind) + "\" x1=\"" + tenth(x1) + "\" y1=\"" + tenth(y1) + "\" x2=\"" + tenth(x2) +
         "\" y2=\"" + tenth(y2) + "\"/>";
}

std::string axes(span_of const& xs, span_of const& ys) {
  std::string out;
  std::vector<double> const rows = ticks_between(ys.low, ys.high, 5);
  std::vector<std::string> const row_texts = tick_texts(rows);
  for (std::size_t i = 0; i < rows.size(); ++i)
    out += grid_line(left, at_y(ys, rows[i]), width - right, at_y(ys, rows[i]), "grid") +
           label(left - 6, at_y(ys, rows[i]) + 3.5, "end", row_texts[i]);
  std::vector<double> marks = ticks_between(xs.low, xs.high, 6);
  std::erase_if(marks, [](double x) { return x != std::floor(x); });  // there are no parts of steps
  for (double const x : marks)
    out += grid_line(at_x(xs, x), height - bottom, at_x(xs, x), height - bottom + 4, "tick") +
           label(at_x(xs, x), height - bottom + 16, "middle", short_steps(x));
  return out + label(left - 14, height - bottom + 16, "end", "step") +
         grid_line(left, height - bottom, width - right, height - bottom, "tick");
}

std::string path_of(chart_line const& line, std::vector<std::size_t> const& which, span_of const& xs, span_of const& ys) {
  std::string d;
  bool down = false;
  for (std::size_t const i : which) {
    if (!std::isfinite(line.y[i])) {
      down = false;
      continue;
    }
    d += (down ? "L" : "M") + tenth(at_x(xs, line.x[i])) + " " + tenth(at_y(ys, line.y[i]));
    down = true;
  }
  return d;
}

// One shape a colour, so that marks are told apart without colours too.
std::string shape(std::size_t colour, double x, double y) {
  static constexpr std::array<char const*, 4> outlines{"M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
                                                       "M-3.3-3.3h6.6v6.6h-6.6z", "M0-4.6L4.2 3.2h-8.4z",
                                                       "M0-4.6L4.6 0 0 4.6-4.6 0z"};
  return "<path class=\"mark c" + std::to_string(colour % chart_colours) + "\" transform=\"translate(" + tenth(x) + " " +
         tenth(y) + ")\" d=\"" + outlines[colour % outlines.size()] + "\"/>";
}

std::string drawn(chart_line const& line, std::vector<std::size_t> const& which, span_of const& xs, span_of const& ys) {
  std::string const colour = "c" + std::to_string(line.colour % chart_colours);
  bool const marks = line.stroke == chart_stroke::marks;
  std::string out =
      "<path class=\"" + std::string(marks ? "dots " : "line ") + colour + "\" d=\"" + path_of(line, which, xs, ys) + "\"/>";
  std::size_t const finite =
      static_cast<std::size_t>(std::count_if(line.y.begin(), line.y.end(), [](double y) { return std::isfinite(y); }));
  if (marks || finite == 1)
    for (std::size_t const i : which)
      if (std::isfinite(line.y[i])) out += shape(line.colour, at_x(xs, line.x[i]), at_y(ys, line.y[i]));
  return out;
}

std::string key(chart_line const& line) {
  std::string const colour = "c" + std::to_string(line.colour % chart_colours);
  std::string const sign =
      line.stroke == chart_stroke::marks ? shape(line.colour, 11, 6) : "<path class=\"line " + colour + "\" d=\"M1 6h20\"/>";
  return "<span class=\"key\"><svg viewBox=\"0 0 22 12\" aria-hidden=\"true\">" + sign + "</svg>" + escaped(line.name) +
         " <b></b></span>";
}

std::string borders(chart const& c, span_of const& xs) {
  std::string out;
  double free_from = left;  // a name that would lie on another one is left out
  for (chart_border const& b : c.borders) {
    double const x = at_x(xs, b.x);
    out += grid_line(x, top, x, height - bottom, "border");
    if (x < free_from || x > width - 40) continue;
    out += "<text class=\"soft\" x=\"" + tenth(x + 3) + "\" y=\"" + tenth(top - 5) + "\">" + escaped(b.name) + "</text>";
    free_from = x + 7 * static_cast<double>(b.name.size());
  }
  return out;
}

// For people who don't see it: where each line begins and ends.
std::string in_words(chart const& c) {
  std::string text = c.title;
  for (chart_line const& line : c.lines) {
    double first = NAN, last = NAN;
    for (double const y : line.y)
      if (std::isfinite(y)) first = std::isnan(first) ? y : first, last = y;
    text +=
        "; " + line.name + (std::isnan(first) ? ": no value" : " from " + short_figure(first) + " to " + short_figure(last));
  }
  return text;
}

// What the script shows under the pointer: the values that are drawn.
std::string values(chart const& c, std::vector<std::vector<std::size_t>> const& which, span_of const& xs) {
  nlohmann::ordered_json lines = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < c.lines.size(); ++i) {
    nlohmann::ordered_json points = nlohmann::ordered_json::array();
    for (std::size_t const j : which[i])
      if (std::isfinite(c.lines[i].y[j]))
        points.push_back({c.lines[i].x[j], nlohmann::ordered_json::parse(exact_figure(c.lines[i].y[j]))});
    lines.push_back(points);
  }
  return nlohmann::ordered_json{{"from", xs.low}, {"to", xs.high}, {"left", left}, {"right", width - right}, {"lines", lines}}
      .dump();
}

}  // namespace

std::vector<std::size_t> thinned(std::span<double const> x, std::span<double const> y, double low, double high,
                                 std::size_t column_count) {
  std::vector<std::size_t> which;
  auto const column = [&](std::size_t i) {
    return high > low ? std::floor((x[i] - low) / (high - low) * static_cast<double>(column_count)) : 0;
  };
  for (std::size_t begin = 0, end = 0; begin < x.size(); begin = end) {
    std::size_t lowest = begin, highest = begin;
    for (end = begin; end < x.size() && column(end) == column(begin) && std::isnan(y[end]) == std::isnan(y[begin]); ++end) {
      if (y[end] < y[lowest]) lowest = end;
      if (y[end] > y[highest]) highest = end;
    }
    std::array<std::size_t, 4> of_column{begin, lowest, highest, end - 1};
    std::sort(of_column.begin(), of_column.end());
    for (std::size_t const i : of_column)
      if (which.empty() || which.back() < i) which.push_back(i);
  }
  return which;
}

std::vector<double> ticks_between(double low, double high, int count) {
  double const rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double const factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * (1 - 1e-9)) step = factor * power;
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) ticks.push_back(k == 0 ? 0 : k * step);
  return ticks;
}

std::vector<std::string> tick_texts(std::vector<double> const& ticks) {
  std::vector<std::string> texts;
  double const step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1,
               most = ticks.empty() ? 0 : std::max(std::abs(ticks.front()), std::abs(ticks.back()));
  int const decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  for (double const tick : ticks) {
    std::array<char, 40> text{};
    std::snprintf(text.data(), text.size(), "%.*f", decimals, tick);
    texts.push_back(decimals <= 4 && most < 1e5 ? text.data() : short_figure(tick));
  }
  return texts;
}

std::string to_html(chart const& c) {
  span_of const xs = [&] {
    span_of s = span_of_lines(c.lines, &chart_line::x);
    return s.high > s.low ? s : span_of{s.low - 1, s.high + 1};
  }();
  span_of const ys = with_air(span_of_lines(c.lines, &chart_line::y));
  std::string lines, keys;
  std::vector<std::vector<std::size_t>> which;
  for (chart_line const& line : c.lines) {
    which.push_back(thinned(line.x, line.y, xs.low, xs.high, columns));
    lines += drawn(line, which.back(), xs, ys);
    keys += key(line);
  }
  return "<figure class=\"chart\" data-values=\"" + escaped(values(c, which, xs)) + "\"><figcaption><h3>" + escaped(c.title) +
         (c.unit.empty() ? "" : " <small>" + escaped(c.unit) + "</small>") + "</h3><div class=\"keys\">" + keys +
         "<span class=\"here\"></span></div></figcaption><svg viewBox=\"0 0 " + tenth(width) + " " + tenth(height) +
         "\" role=\"img\" aria-label=\"" + escaped(in_words(c)) + "\">" + axes(xs, ys) + borders(c, xs) + lines +
         "<line class=\"pointer\" y1=\"" + tenth(top) + "\" y2=\"" + tenth(height - bottom) + "\"/></svg></figure>\n";
}

}  // namespace kedge::llm
