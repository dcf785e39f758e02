// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include <kedge/lab/harness/experiment.hpp>

// An outcome as JSON, CSV and text.

namespace kedge::lab {

namespace output {

inline std::string number(double x) { return std::isfinite(x) ? kedge::detail::text(x) : "null"; }

inline std::string quoted(std::string const& s) {
  std::string out = "\"";
  for (char const c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

template <class Items, class Write>
std::string joined(Items const& items, Write const& write) {
  std::string out;
  for (auto const& item : items) out += (out.empty() ? "" : ", ") + write(item);
  return out;
}

inline std::string numbers(std::vector<double> const& values) { return "[" + joined(values, number) + "]"; }

// A value of an option: a number where it is one.
inline std::string value(std::string const& s) {
  char* end = nullptr;
  std::strtod(s.c_str(), &end);
  bool const is_number = !s.empty() && (s[0] == '-' || (s[0] >= '0' && s[0] <= '9')) && end == s.c_str() + s.size();
  return is_number ? s : quoted(s);
}

inline std::vector<double> abscissas(drawing::curve const& c) {
  std::vector<double> x;
  for (std::size_t i = 0; i < c.y.size(); ++i) x.push_back(drawing::abscissa(c, i));
  return x;
}

inline std::string expectation(claim const& c) {
  return c.relation == "=" ? kedge::detail::text(c.expected) + (c.margin == 0 ? "" : " ± " + drawing::text(c.margin))
                           : c.relation + " " + drawing::text(c.expected);
}

// A mean with its 95 % interval; of an exact claim the number alone.
inline std::string finding(claim const& c) {
  if (c.seeds == 0) return kedge::detail::text(c.measured);
  return drawing::text(c.measured) + " [" + drawing::text(c.low) + ", " + drawing::text(c.high) + "], " + std::to_string(c.seeds) +
         " seeds, p " + drawing::text(c.adjusted);
}

inline std::string claim_json(claim const& c) {
  std::string out = quoted(c.what) + ": {\"expected\": " + number(c.expected) + ", \"measured\": " + number(c.measured) +
                    ", \"relation\": " + quoted(c.relation) + ", \"margin\": " + number(c.margin);
  if (c.seeds > 0)
    out += ", \"seeds\": " + std::to_string(c.seeds) + ", \"interval\": [" + number(c.low) + ", " + number(c.high) +
           "], \"p\": " + number(c.p) + ", \"p_adjusted\": " + number(c.adjusted);
  if (!c.missing.empty()) out += ", \"premise_fails\": " + quoted(c.missing);
  return out + ", \"verdict\": " + quoted(name_of(c.judged)) + ", \"holds\": " + (c.judged == verdict::holds ? "true" : "false") + "}";
}

inline std::string curve_json(drawing::curve const& c) {
  std::string out = "{\"name\": " + quoted(c.name) + ", \"x\": " + numbers(abscissas(c)) + ", \"y\": " + numbers(c.y);
  if (!c.low.empty()) out += ", \"low\": " + numbers(c.low) + ", \"high\": " + numbers(c.high);
  return out + "}";
}

}  // namespace output

/// One object, one line: settings, series, every curve of every plot, the fit, the claims with their verdicts.
[[nodiscard]] inline std::string to_json(experiment const& e, arguments const& a, outcome const& r) {
  using namespace output;
  std::string out = "{\"experiment\": " + quoted(e.name) + ", \"settings\": {";
  out += joined(a.all(), [](auto const& o) { return quoted(o.first) + ": " + value(o.second); });
  out += "}, \"series\": {";
  out += joined(r.series, [](auto const& s) { return quoted(s.first) + ": " + numbers(s.second); });
  out += "}, \"plots\": [";
  out += joined(r.plots, [](drawing::plot const& p) {
    return "{\"title\": " + quoted(p.title) + ", \"x\": " + quoted(p.x_label) + ", \"y\": " + quoted(p.y_label) + ", \"curves\": [" +
           joined(p.curves, curve_json) + "]}";
  });
  out += "], \"fit\": {\"of\": " + quoted(r.fitted) + ", \"slope\": " + number(r.fit.slope) + ", \"stderr\": " + number(r.fit.stderr_slope);
  out += "}, \"expected\": {" + joined(r.list, claim_json);
  return out + "}, \"notes\": [" + joined(r.notes, quoted) + "], \"verdict\": " + quoted(name_of(r.worst())) +
         ", \"holds\": " + (r.holds() ? "true" : "false") + "}\n";
}

/// A row a point: plot, curve, x, y, and the interval of y where there is one.
[[nodiscard]] inline std::string to_csv(outcome const& r) {
  auto cell = [](std::string const& s) {
    std::string out = "\"";
    for (char const c : s) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  auto digits = [](double x) { return std::isfinite(x) ? kedge::detail::text(x) : std::string{}; };
  std::string out = "plot,curve,x,y,low,high\n";
  for (drawing::plot const& p : r.plots)
    for (drawing::curve const& c : p.curves)
      for (std::size_t i = 0; i < c.y.size(); ++i)
        out += cell(p.title) + "," + cell(c.name) + "," + digits(drawing::abscissa(c, i)) + "," + digits(c.y[i]) + "," +
               (c.low.empty() ? "," : digits(c.low[i]) + "," + digits(c.high[i])) + "\n";
  return out;
}

[[nodiscard]] inline std::string to_text(experiment const& e, arguments const& a, outcome const& r) {
  using namespace output;
  std::string out = e.name + ": " + e.title + "\n" + e.claim + "\n\nsettings  ";
  out += joined(a.all(), [](auto const& o) { return o.first + " " + o.second; }) + "\n";
  for (auto const& [name, values] : r.series) {
    out += "series    " + name + ":";
    for (std::size_t t = 1; t <= values.size(); t = t < values.size() && t * 10 > values.size() ? values.size() : t * 10)
      out += " t=" + std::to_string(t) + " " + drawing::text(values[t - 1]);
    out += "\n";
  }
  if (!r.fitted.empty()) out += "fit       " + r.fitted + ": " + drawing::text(r.fit.slope) + " ± " + drawing::text(r.fit.stderr_slope) + "\n";
  for (claim const& c : r.list)
    out += name_of(c.judged) + std::string(std::max<std::size_t>(1, 15 - std::min<std::size_t>(15, name_of(c.judged).size())), ' ') +
           c.what + ": expected " + expectation(c) + ", measured " + finding(c) + (c.missing.empty() ? "" : "; needs " + c.missing) + "\n";
  for (std::string const& note : r.notes) out += "note      " + note + "\n";
  return out;
}

/// All experiments with claims and options, as a JSON array.
[[nodiscard]] inline std::string list_json(std::vector<experiment> const& all) {
  using namespace output;
  return "[" + joined(all, [](experiment const& e) {
           return "{\"experiment\": " + quoted(e.name) + ", \"title\": " + quoted(e.title) + ", \"claim\": " + quoted(e.claim) +
                  ", \"options\": {" + joined(e.options, [](option const& o) {
                    return quoted(o.name) + ": {\"default\": " + value(o.value) + ", \"help\": " + quoted(o.help) + "}";
                  }) + "}}";
         }) + "]\n";
}

}  // namespace kedge::lab
