// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include <kedge/llm/train/reward_plane.hpp>

namespace kedge::llm {
namespace {

constexpr double width = 720, left = 74, right = 20, first_line = 18;

std::string in_xml(std::string const& text) {
  std::string out;
  for (char const c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

std::string with_digits(double x, int digits) {
  std::array<char, 64> out{};
  std::snprintf(out.data(), out.size(), "%.*f", digits, x);
  return out.data();
}

std::string fixed(double x) { return with_digits(x, 1); }

// Rewards from worst to best, as text and as colour.
class reward_scale {
 public:
  explicit reward_scale(std::vector<plane_point> const& points) {
    auto const [worst, best] = std::minmax_element(points.begin(), points.end(), [](auto const& a, auto const& b) { return a.evaluation.reward < b.evaluation.reward; });
    low = worst->evaluation.reward;
    high = best->evaluation.reward;
    if (high > low) digits_ = std::clamp(static_cast<int>(std::ceil(-std::log10(high - low))) + 1, 0, 4);
    for (plane_point const& p : points) error += p.evaluation.reward_stderr / static_cast<double>(points.size());
  }

  [[nodiscard]] double share(double reward) const { return high > low ? (reward - low) / (high - low) : 0.5; }
  [[nodiscard]] std::string text(double reward) const { return with_digits(reward, digits_); }

  // Light blue to dark blue; words on it are black or white.
  [[nodiscard]] static std::string color(double share) {
    constexpr std::array from{228., 239., 250.}, to{11., 61., 107.};
    std::array<char, 32> out{};
    auto const mix = [&](std::size_t i) { return static_cast<int>(std::lround(from.at(i) + share * (to.at(i) - from.at(i)))); };
    std::snprintf(out.data(), out.size(), "#%02x%02x%02x", mix(0), mix(1), mix(2));
    return out.data();
  }
  [[nodiscard]] static char const* ink(double share) { return share < 0.5 ? "#10151a" : "#ffffff"; }

  double low = 0, high = 0, error = 0;

 private:
  int digits_ = 2;
};

std::string words(double x, double y, std::string const& text, char const* anchor = "middle", std::string const& further = "") {
  return "<text x=\"" + fixed(x) + "\" y=\"" + fixed(y) + "\" text-anchor=\"" + anchor + "\"" + further + ">" + in_xml(text) + "</text>\n";
}

std::string tooltip(plane_point const& p, std::vector<std::string> const& names, reward_scale const& scale) {
  std::string text;
  for (std::size_t j = 0; j < names.size(); ++j) text += (j > 0 ? ", " : "") + names[j] + " " + with_digits(p.weights[j], 3);
  return "<title>" + in_xml(text + ": " + scale.text(p.evaluation.reward) + " ± " + with_digits(p.evaluation.reward_stderr, 3)) + "</title>";
}

std::string picture_of(double height, std::string const& title, reward_scale const& scale, std::string const& body) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + fixed(width) + " " + fixed(height) +
         "\" font-family=\"system-ui, sans-serif\" font-size=\"12.5\" role=\"img\">\n" + words(left, first_line, title, "start", " class=\"heading\" font-weight=\"600\"") +
         words(left, first_line + 19, "standard error of a soup: " + with_digits(scale.error, 3) + " on average", "start") + body + "</svg>\n";
}

// Reward over the weight of the second model, with a standard error on each side.
std::string line_picture(std::vector<plane_point> const& points, std::vector<std::string> const& names, reward_scale const& scale) {
  constexpr double top = 70, height = 250;
  double low = scale.low, high = scale.high;
  for (plane_point const& p : points) {
    low = std::min(low, p.evaluation.reward - p.evaluation.reward_stderr);
    high = std::max(high, p.evaluation.reward + p.evaluation.reward_stderr);
  }
  auto const y_of = [&](double reward) { return top + height * (high > low ? (high - reward) / (high - low) : 0.5); };
  std::string corners, marks;
  for (plane_point const& p : points) {
    double const x = left + p.weights[1] * (width - left - right - 20), y = y_of(p.evaluation.reward), error = p.evaluation.reward_stderr;
    corners += fixed(x) + "," + fixed(y) + " ";
    marks += "<line stroke=\"#1f6f8b\" x1=\"" + fixed(x) + "\" x2=\"" + fixed(x) + "\" y1=\"" + fixed(y_of(p.evaluation.reward - error)) + "\" y2=\"" +
             fixed(y_of(p.evaluation.reward + error)) + "\"/><circle r=\"5\" fill=\"#1f6f8b\" cx=\"" + fixed(x) + "\" cy=\"" + fixed(y) + "\">" + tooltip(p, names, scale) +
             "</circle>\n" + words(x + 9, y - 7, scale.text(p.evaluation.reward), "start") + words(x, top + height + 26, with_digits(p.weights[1], 2));
  }
  return picture_of(top + height + 60, "Mean reward of soups before training", scale,
                    "<polyline fill=\"none\" stroke=\"#1f6f8b\" stroke-width=\"2\" points=\"" + corners + "\"/>\n" + marks +
                        words((left + width - right) / 2, top + height + 48, "weight of " + names[1] + "; that of " + names[0] + " is the rest"));
}

std::string color_bar(reward_scale const& scale, double x, double top, double height) {
  constexpr int steps = 24;
  std::string out;
  for (int i = 0; i < steps; ++i)
    out += "<rect width=\"16\" x=\"" + fixed(x) + "\" y=\"" + fixed(top + height * i / steps) + "\" height=\"" + fixed(height / steps + 0.3) + "\" fill=\"" +
           reward_scale::color(1 - (i + 0.5) / steps) + "\"/>";
  return out + "\n" + words(x + 24, top + 10, scale.text(scale.high), "start") + words(x + 24, top + height, scale.text(scale.low), "start") +
         words(x + 24, top + height / 2 + 4, "reward", "start");
}

// A hexagon a soup; the corners of the triangle are the models alone.
std::string triangle_picture(std::vector<plane_point> const& points, std::vector<std::string> const& names, reward_scale const& scale) {
  double const n = std::round((std::sqrt(8 * static_cast<double>(points.size()) + 1) - 3) / 2);
  double const spacing = std::min(440 / n, 92.0), radius = spacing / std::sqrt(3), side = spacing * n, center = 330;
  double const top = 84 + radius, floor = top + side * std::sqrt(3) / 2;
  std::string out;
  for (plane_point const& p : points) {
    double const x = center + side * (p.weights[1] - p.weights[0]) / 2, y = floor - (floor - top) * p.weights[2], share = scale.share(p.evaluation.reward);
    out += "<polygon fill=\"" + reward_scale::color(share) + "\" stroke=\"#8a939c\" stroke-width=\"0.7\" points=\"";
    for (int corner = 0; corner < 6; ++corner) {
      double const angle = (2 * corner + 1) * std::acos(-1.0) / 6;
      out += fixed(x + radius * std::cos(angle)) + "," + fixed(y + radius * std::sin(angle)) + " ";
    }
    out += "\">" + tooltip(p, names, scale) + "</polygon>\n";
    if (spacing >= 44)
      out += words(x, y + 4, scale.text(p.evaluation.reward), "middle", std::string(" pointer-events=\"none\" style=\"fill:") + reward_scale::ink(share) + "\"");
  }
  out += words(center, top - radius - 9, names[2] + " alone") + words(center - side / 2, floor + radius + 18, names[0] + " alone") +
         words(center + side / 2, floor + radius + 18, names[1] + " alone") + color_bar(scale, 630, top, floor - top);
  return picture_of(floor + radius + 34, "Mean reward of soups of three models before training", scale, out);
}

}  // namespace

std::string reward_plane_picture(std::vector<plane_point> const& points, std::vector<std::string> const& names) {
  reward_scale const scale(points);
  return names.size() == 2 ? line_picture(points, names, scale) : triangle_picture(points, names, scale);
}

}  // namespace kedge::llm
