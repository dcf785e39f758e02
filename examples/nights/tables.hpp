// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "night.hpp"

namespace kedge_nights {

/// A table in Markdown.
class table {
 public:
  explicit table(std::vector<std::string> heads) : rows_{std::move(heads)} {}
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "0.318 ± 0.091": the mean over runs with its 95 % interval; "" of none.
[[nodiscard]] std::string text_of_mean(std::vector<course> const& runs, std::function<double(course const&)> const& figure);

/// A claim about the mean of differences by seed, with its p-value.
struct tested {
  std::string what;
  std::vector<double> differences;
  double p;
};
/// "the mean is above 0", by Student's t.
[[nodiscard]] tested higher(std::string what, std::vector<double> differences);
/// "the mean is not 0", on both sides.
[[nodiscard]] tested differs(std::string what, std::vector<double> differences);
/// "the mean is within the margin", by two one-sided tests.
[[nodiscard]] tested equivalent(std::string what, std::vector<double> differences, double margin);

/// A table of claims: mean difference with interval, p-value by Holm over all of them, and whether the claim holds at 5 %.
void print_claims(std::vector<tested> claims, std::string const& note);

}  // namespace kedge_nights
