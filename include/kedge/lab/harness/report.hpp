// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <kedge/lab/drawing/page.hpp>
#include <kedge/lab/drawing/svg.hpp>
#include <kedge/lab/harness/output.hpp>

// Outcomes drawn into one page.

namespace kedge::lab {

struct finished {
  experiment const* what;
  arguments settings;
  outcome result;
  double seconds;
};

namespace report {

inline std::string marked(verdict v) {
  return std::string("<span class=\"") +
         (v == verdict::holds   ? "good"
          : v == verdict::fails ? "bad"
                                : "open") +
         "\">" + name_of(v) + "</span>";
}

inline std::string digits(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.11g", x);
  return buffer;
}

inline std::string claims_table(outcome const& r) {
  using drawing::escaped;
  std::string out = "<table class=\"cards\"><tr><th>claim</th><th>expected</th><th>measured</th><th>verdict</th></tr>\n";
  for (claim const& c : r.list)
    out += "<tr><td>" + escaped(c.what) +
           (c.missing.empty() ? "" : "<br><span class=\"soft\">needs " + escaped(c.missing) + "</span>") +
           "</td><td class=\"number\" data-label=\"expected\">" +
           escaped(c.relation == "=" ? digits(c.expected) + (c.margin == 0 ? "" : " ± " + drawing::text(c.margin))
                                     : output::expectation(c)) +
           "</td><td class=\"number\" data-label=\"measured\">" +
           escaped(c.seeds == 0 ? digits(c.measured) : output::finding(c)) + "</td><td data-label=\"verdict\">" +
           marked(c.judged) + "</td></tr>\n";
  return out + "</table>\n";
}

inline std::string section(finished const& f) {
  using drawing::escaped;
  std::string out =
      "<h2 id=\"" + escaped(f.what->name) + "\">" + escaped(f.what->title) + "</h2>\n<p>" + escaped(f.what->claim) + "</p>\n";
  if (!f.what->formula.empty())
    out += "<p class=\"formula\"><math display=\"block\"><mrow>" + f.what->formula + "</mrow></math></p>\n";
  out += "<p class=\"soft\"><code>run " + escaped(f.what->name);
  for (auto const& [name, value] : f.settings.all()) out += escaped(" --" + name + " " + value);
  out += "</code></p>\n";
  for (drawing::plot const& p : f.result.plots)
    out += "<figure><figcaption>" + escaped(p.title) + "</figcaption>" + drawing::to_svg(p) + "</figure>\n";
  if (!f.result.fitted.empty())
    out += "<p>Fit, " + escaped(f.result.fitted) + ": slope " + drawing::text(f.result.fit.slope) + " ± " +
           drawing::text(f.result.fit.stderr_slope) + " (standard error).</p>\n";
  out += claims_table(f.result);
  for (std::string const& note : f.result.notes) out += "<p>" + escaped(note) + "</p>\n";
  return out;
}

}  // namespace report

/// A page of its own: a summary, then each experiment with its claim, plots and verdicts. `introduction` is HTML.
[[nodiscard]] inline std::string to_html(std::string const& title, std::string const& introduction,
                                         std::vector<finished> const& all) {
  using drawing::escaped;
  std::size_t tested = 0;
  for (finished const& f : all)
    for (claim const& c : f.result.list) tested += c.seeds > 0 ? 1 : 0;
  std::string out = introduction;
  out += "<p>A number in brackets is a 95 % interval of Student's t over seeds. The " + std::to_string(tested) +
         " claims about means are judged together: each holds where its p-value, adjusted by Holm's method, is below 0.05. A "
         "claim whose premise "
         "the options don't fulfil is said to be so, and not judged.</p>\n";
  out += "<table class=\"cards\"><tr><th>experiment</th><th>claim</th><th>verdict</th><th>seconds</th></tr>\n";
  for (finished const& f : all) {
    char seconds[16];
    std::snprintf(seconds, sizeof seconds, "%.2f", f.seconds);
    out += "<tr><td><a href=\"#" + escaped(f.what->name) + "\">" + escaped(f.what->name) + "</a></td><td>" +
           escaped(f.what->title) + "</td><td data-label=\"verdict\">" + report::marked(f.result.worst()) +
           "</td><td class=\"number\" data-label=\"seconds\">" + seconds + "</td></tr>\n";
  }
  out += "</table>\n";
  for (finished const& f : all) out += report::section(f);
  return drawing::page(title, out);
}

}  // namespace kedge::lab
