// SPDX-License-Identifier: Apache-2.0
#include "tables.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include <kedge/lab/statistics.hpp>

#include "../on_policy/report.hpp"

namespace kedge_nights {
namespace {

std::string text_of(std::vector<double> const& values) {
  return values.empty() ? "" : kedge_on_policy::text_of(kedge_on_policy::estimate_of(values));
}

}  // namespace

void table::print() const {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    std::string line = "|";
    for (std::string const& cell : rows_[i]) line += " " + cell + " |";
    std::puts(line.c_str());
    if (i > 0) continue;
    std::string rule = "|";
    for (std::size_t c = 0; c < rows_[i].size(); ++c) rule += "---|";
    std::puts(rule.c_str());
  }
  std::puts("");
}

std::string text_of_mean(std::vector<course> const& runs, std::function<double(course const&)> const& figure) {
  std::vector<double> values;
  for (course const& run : runs) values.push_back(figure(run));
  return text_of(values);
}

tested higher(std::string what, std::vector<double> differences) {
  double const p = differences.size() < 2 ? 1 : kedge::lab::p_above(differences, 0);
  return {std::move(what), std::move(differences), p};
}

tested differs(std::string what, std::vector<double> differences) {
  double const p = differences.size() < 2 ? 1 : 2 * std::min(kedge::lab::p_above(differences, 0), kedge::lab::p_below(differences, 0));
  return {std::move(what), std::move(differences), p};
}

tested equivalent(std::string what, std::vector<double> differences, double margin) {
  double const p = differences.size() < 2 ? 1 : kedge::lab::p_equivalent(differences, 0, margin);
  return {std::move(what), std::move(differences), p};
}

void print_claims(std::vector<tested> claims, std::string const& note) {
  std::vector<double> p;
  for (tested const& claim : claims) p.push_back(claim.p);
  p = kedge::lab::holm_adjusted(p);
  std::printf("%s Holm over %zu claims; intervals are 95 %%, by seed.\n\n", note.c_str(), claims.size());
  table t({"claim", "difference", "seeds", "p", "verdict"});
  for (std::size_t i = 0; i < claims.size(); ++i) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.2g", p[i]);
    t.row({claims[i].what, text_of(claims[i].differences), std::to_string(claims[i].differences.size()), text.data(), p[i] < 0.05 ? "holds" : "does not show"});
  }
  t.print();
}

}  // namespace kedge_nights
