// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <kedge/comparison.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::WithinAbs;

namespace {

using numbers = std::vector<double>;

struct golden_case {
  std::string name;
  numbers shares, differences, expected;
};

numbers split(std::string const& text, char by) {
  numbers all;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, by);) all.push_back(std::stod(part));
  return all;
}

std::vector<golden_case> golden_cases() {
  std::ifstream file(KEDGE_TESTS_DIR "/golden/core/comparison.csv");
  std::vector<golden_case> cases;
  for (std::string name, shares, differences, rest; std::getline(file, name, ',') && std::getline(file, shares, ',') &&
                                                    std::getline(file, differences, ',') && std::getline(file, rest);)
    cases.push_back({name, split(shares, ' '), split(differences, ' '), split(rest, ',')});
  return cases;
}

}  // namespace

TEST_CASE("win rates and their intervals are those of the formulas with and without length", "[comparison]") {
  REQUIRE(golden_cases().size() == 6);
  for (golden_case const& c : golden_cases()) {
    INFO(c.name);
    estimate const plain = win_rate(c.shares);
    length_controlled const controlled = length_controlled_win_rate(c.shares, c.differences);
    numbers const found{plain.value,          plain.low,       plain.high, controlled.rate.value, controlled.rate.low,
                        controlled.rate.high, controlled.slope};
    REQUIRE(c.expected.size() == found.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK_THAT(found[i], WithinAbs(c.expected[i], 1e-9));
  }
}

TEST_CASE("ties count half in a share of wins", "[comparison]") {
  CHECK(share_above(numbers{1, 2}, numbers{2, 3}) == 0.875);
  CHECK(share_above(numbers{5}, numbers{5, 5, 5}) == 0.5);
}

TEST_CASE("a win rate turned around is its complement with the interval turned around", "[comparison]") {
  numbers const shares{0, 0.25, 1, 1, 0.5, 0.75, 1}, differences{4, -3, 10, 0, 2, -8, 1};
  numbers other, opposite;
  for (double const w : shares) other.push_back(1 - w);
  for (double const d : differences) opposite.push_back(-d);
  CHECK_THAT(win_rate(other).low, WithinAbs(1 - win_rate(shares).high, 1e-12));
  CHECK_THAT(length_controlled_win_rate(other, opposite).rate.low,
             WithinAbs(1 - length_controlled_win_rate(shares, differences).rate.high, 1e-9));
}

TEST_CASE("a ratio of equal counts has the error of a mean", "[comparison]") {
  numbers const sums{2, 5, 11, 3}, counts{4, 4, 4, 4};
  numbers means;
  for (double const x : sums) means.push_back(x / 4);
  CHECK_THAT(ratio_of(sums, counts).value, WithinAbs(mean_of(means).value, 1e-15));
  CHECK_THAT(ratio_of(sums, counts).error, WithinAbs(mean_of(means).error, 1e-15));
}
