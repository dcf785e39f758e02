// SPDX-License-Identifier: Apache-2.0
#include "../drawing/page.hpp"
#include "experiment.hpp"

namespace kedge_lab {

using kedge_drawing::escaped;

namespace {

std::string verdict(bool holds) { return holds ? "<span class=\"good\">holds</span>" : "<span class=\"bad\">fails</span>"; }

std::string digits(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.11g", x);
  return buffer;
}

std::string checks_table(outcome const& r) {
  std::string out = "<div class=\"scroll\"><table><tr><th>what</th><th>expected</th><th>measured</th><th></th></tr>\n";
  for (check const& c : r.checks) {
    bool const equal = c.relation[0] == '=';
    out += "<tr><td>" + escaped(c.what) + "</td><td class=\"number\">" +
           (equal ? digits(c.expected) + (c.relation == "= 0" ? "" : " ± " + text(std::stod(c.relation.substr(2))))
                  : escaped(c.relation) + " " + text(c.expected)) +
           "</td><td class=\"number\">" + digits(c.measured) + "</td><td>" + verdict(c.holds) + "</td></tr>\n";
  }
  return out + "</table></div>\n";
}

std::string section(finished const& f) {
  std::string out = "<h2 id=\"" + f.what->name + "\">" + escaped(f.what->title) + "</h2>\n<p>" + escaped(f.what->claim) +
                    "</p>\n<p class=\"soft\"><code>kedge-lab run " + f.what->name;
  for (auto const& [name, value] : f.settings.all()) out += " --" + name + " " + value;
  out += "</code></p>\n";
  for (plot const& p : f.result.plots) out += "<figure>" + to_svg(p) + "</figure>\n";
  if (!f.result.fitted.empty())
    out += "<p>Fit, " + escaped(f.result.fitted) + ": slope " + text(f.result.fit.slope) + " ± " +
           text(f.result.fit.stderr_slope) + " (standard error).</p>\n";
  out += checks_table(f.result);
  for (std::string const& note : f.result.notes) out += "<p>" + escaped(note) + "</p>\n";
  return out;
}

}  // namespace

std::string to_html(std::vector<finished> const& all) {
  std::string out =
      "<p>Accelerated preference optimization (APO), stepwise DPO (sDPO), SALSA and their relatives, run on problems whose "
      "answers are known. "
      "A thick line is what the algorithm did; a dashed line is the exact answer, a dotted one a bound. Where the two agree, "
      "the thick line "
      "hides under the dashed one. α is the momentum between rounds, β the weight of the KL term, C_t the steps that t rounds "
      "add up to: "
      "plain iterative DPO has C_t = t.</p>\n<div "
      "class=\"scroll\"><table><tr><th>experiment</th><th>claim</th><th></th><th>seconds</th></tr>\n";
  for (finished const& f : all) {
    char seconds[16];
    std::snprintf(seconds, sizeof seconds, "%.2f", f.seconds);
    out += "<tr><td><a href=\"#" + f.what->name + "\">" + f.what->name + "</a></td><td>" + escaped(f.what->title) +
           "</td><td>" + verdict(f.result.holds()) + "</td><td class=\"number\">" + seconds + "</td></tr>\n";
  }
  out += "</table></div>\n";
  for (finished const& f : all) out += section(f);
  return kedge_drawing::page("kedge lab", out);
}

}  // namespace kedge_lab
