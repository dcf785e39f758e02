// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <tuple>

#include <kedge/losses/unpaired.hpp>

#include "support/catch.hpp"

using namespace kedge;

TEST_CASE("KTO of single completions has the value and the slope of its formula", "[losses]") {
  std::ifstream file(KEDGE_TESTS_DIR "/golden/core/unpaired.csv");
  std::string line;
  std::getline(file, line);
  int rows = 0;
  for (; std::getline(file, line); ++rows) {
    INFO(line);
    std::istringstream cells(line);
    double number[6];
    for (double& one : number) {
      std::string text;
      std::getline(cells, text, ',');
      one = std::strtod(text.c_str(), nullptr);
    }
    unpaired_kto const loss{.kl = number[3], .desirable_weight = 1.5, .undesirable_weight = 0.75};
    labelled_terms const one{number[0], number[1], number[2] == 1};
    auto const [value, slope] = loss(one);
    CHECK(std::abs(value - number[4]) <= 1e-14 * std::abs(number[4]) + 1e-300);
    CHECK(std::abs(slope - number[5]) <= 1e-13 * std::abs(number[5]) + 1e-300);
  }
  CHECK(rows == 30);
}

TEST_CASE("two completions of a prompt have together the loss of KTO on pairs", "[losses]") {
  pair_terms const pair{-12.5, -15.25, -13, -14.5};
  auto const [value, chosen, rejected] = kto{.kl = 0.05, .desirable_weight = 1.5, .undesirable_weight = 0.75}(pair);
  unpaired_kto const single{.kl = 0.05, .desirable_weight = 1.5, .undesirable_weight = 0.75};
  auto const a = single({-12.5, -13, true}), b = single({-15.25, -14.5, false});
  CHECK(std::abs(a.value + b.value - value) < 1e-15);
  CHECK(a.slope == chosen);
  CHECK(b.slope == rejected);
  anchored_zero const anchored{};
  auto const plain = anchored(pair);
  unpaired_kto const without{};
  CHECK(std::abs(without({-12.5, -13, true}).value + without({-15.25, -14.5, false}).value - plain.value) < 1e-15);
}
