// SPDX-License-Identifier: Apache-2.0
#pragma once

// The laws that every adapted tensor keeps. A backend gives a factory, a struct with
//   using tensor = …                                             the adapted type
//   static tensor make(std::vector<double> const& values)        one dimension, shape [values.size()]
//   static std::vector<double> values(tensor const&)             its elements, in order
//   static constexpr double tolerance                            a few units in the last place of its scalar
// and runs TEMPLATE_TEST_CASEs by including this file after defining KEDGE_BACKENDS, a comma-separated list of factories.

#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/bandit.hpp>

#include "support/catch.hpp"

namespace kedge::conformance {

inline void check_equal(std::vector<double> const& found, std::vector<double> const& expected, double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("element " << i);
    CHECK(std::abs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i])));
  }
}

}  // namespace kedge::conformance

TEMPLATE_TEST_CASE("a deep copy has storage of its own", "[conformance]", KEDGE_BACKENDS) {
  auto const x = TestType::make({1, 2, 3});
  auto y = kedge::deep_copy(x);
  kedge::axpby(1, x, 1, y);
  CHECK(TestType::values(x) == std::vector<double>{1, 2, 3});
  CHECK(TestType::values(y) == std::vector<double>{2, 4, 6});
}

TEMPLATE_TEST_CASE("axpby is a x + b y, element by element", "[conformance]", KEDGE_BACKENDS) {
  auto const x = TestType::make({1, -2, 0.5});
  auto y = TestType::make({4, 0, -8});
  kedge::axpby(0.5, x, -2, y);
  CHECK(TestType::values(y) == std::vector<double>{-7.5, -1, 16.25});
}

TEMPLATE_TEST_CASE("axpby with a = 0 and b = 1 changes nothing", "[conformance]", KEDGE_BACKENDS) {
  auto y = TestType::make({0.1, -7, 1e30});
  auto const before = TestType::values(y);
  kedge::axpby(0, TestType::make({1, 2, 3}), 1, y);
  CHECK(TestType::values(y) == before);
}

TEMPLATE_TEST_CASE("axpby with b = 0 overwrites, NaN and infinity included", "[conformance]", KEDGE_BACKENDS) {
  double const nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  auto y = TestType::make({nan, infinity, -infinity});
  kedge::axpby(2, TestType::make({1, 2, 3}), 0, y);
  CHECK(TestType::values(y) == std::vector<double>{2, 4, 6});
}

TEMPLATE_TEST_CASE("axpby doesn't hide a NaN that it reads", "[conformance]", KEDGE_BACKENDS) {
  auto y = TestType::make({1});
  kedge::axpby(1, TestType::make({std::numeric_limits<double>::quiet_NaN()}), 1, y);
  CHECK(std::isnan(TestType::values(y)[0]));
}

TEMPLATE_TEST_CASE("dot is symmetric, bilinear and positive", "[conformance]", KEDGE_BACKENDS) {
  auto const x = TestType::make({1, -2, 3}), y = TestType::make({4, 0.5, -1});
  CHECK(kedge::dot(x, y) == 0.0);
  CHECK(kedge::dot(x, x) == 14.0);
  CHECK(kedge::dot(y, x) == kedge::dot(x, y));
  auto z = kedge::deep_copy(x);
  kedge::axpby(2, y, 3, z);
  CHECK(kedge::dot(z, x) == 2 * kedge::dot(y, x) + 3 * kedge::dot(x, x));
}

TEMPLATE_TEST_CASE("dot accumulates in double", "[conformance]", KEDGE_BACKENDS) {
  // In single precision 2^24 + 1 is 2^24.
  auto const ones = TestType::make({4096, 1, 1});
  CHECK(kedge::dot(ones, ones) == 16777218.0);
}

TEMPLATE_TEST_CASE("operands of different shape are refused", "[conformance]", KEDGE_BACKENDS) {
  auto const x = TestType::make({1, 2, 3});
  auto y = TestType::make({1, 2});
  CHECK_THROWS_AS(kedge::axpby(1, x, 1, y), std::invalid_argument);
  CHECK_THROWS_AS(kedge::dot(x, y), std::invalid_argument);
}

TEMPLATE_TEST_CASE("a pack of tensors is a tensor", "[conformance]", KEDGE_BACKENDS) {
  using pack = std::vector<typename TestType::tensor>;
  static_assert(kedge::tensor<pack>);
  pack x, y;
  x.push_back(TestType::make({1, 2}));
  x.push_back(TestType::make({3}));
  y.push_back(TestType::make({10, 20}));
  y.push_back(TestType::make({30}));
  kedge::axpby(2, x, 0.5, y);
  CHECK(TestType::values(y[0]) == std::vector<double>{7, 14});
  CHECK(TestType::values(y[1]) == std::vector<double>{21});
  CHECK(kedge::dot(x, y) == 7.0 + 28.0 + 63.0);
  y.pop_back();
  CHECK_THROWS_AS(kedge::axpby(1, x, 1, y), std::invalid_argument);
}

TEMPLATE_TEST_CASE("elementwise is the formula, element by element, in packs too", "[conformance]", KEDGE_BACKENDS) {
  static_assert(kedge::elementwise_tensor<typename TestType::tensor>);
  auto const formula = [](auto const& y, auto const& a, auto const& b) { return 2 * y - a / kedge::detail::square_root(b); };
  auto y = TestType::make({1, 0.5, -3});
  kedge::elementwise(formula, y, TestType::make({4, -2, 1}), TestType::make({16, 4, 0.25}));
  CHECK(TestType::values(y) == std::vector<double>{1, 2, -8});
  std::vector<typename TestType::tensor> pack, ones;
  for (double const x : {3.0, 5.0}) pack.push_back(TestType::make({x})), ones.push_back(TestType::make({1}));
  kedge::elementwise(formula, pack, ones, ones);
  CHECK(TestType::values(pack[1]) == std::vector<double>{9});
  CHECK_THROWS_AS(kedge::elementwise(formula, y, y, TestType::make({1})), std::invalid_argument);
}

TEMPLATE_TEST_CASE("Adam's steps are those of its formula", "[conformance]", KEDGE_BACKENDS) {
  kedge::adam const rule{.rate = 0.5, .beta1 = 0.75, .beta2 = 0.5, .epsilon = 0.25};
  auto theta = TestType::make({1, -1});
  auto state = rule.init(theta);
  double x[] = {1, -1}, m[] = {0, 0}, v[] = {0, 0};
  for (int t = 1; t <= 3; ++t) {
    double const g[] = {2.0 * t, -0.5};
    rule.step(state, theta, TestType::make({g[0], g[1]}));
    for (int i = 0; i < 2; ++i) {
      m[i] = 0.75 * m[i] + 0.25 * g[i];
      v[i] = 0.5 * v[i] + 0.5 * g[i] * g[i];
      x[i] -= 0.5 * (m[i] / (1 - std::pow(0.75, t))) / (std::sqrt(v[i] / (1 - std::pow(0.5, t))) + 0.25);
    }
  }
  kedge::conformance::check_equal(TestType::values(theta), {x[0], x[1]}, 10 * TestType::tolerance);
}

TEMPLATE_TEST_CASE("a soup of equal points is the point, bit for bit", "[conformance]", KEDGE_BACKENDS) {
  using tensor = typename TestType::tensor;
  std::vector<tensor> const points(4, TestType::make({0.1, -3.7, 1e-20}));
  std::vector<double> const weights(4, 0.25);
  auto const soup = kedge::affine_combination<tensor>(weights, std::span<tensor const>(points));
  CHECK(TestType::values(soup) == TestType::values(points[0]));
}

TEMPLATE_TEST_CASE("APO's iterates under a fixed reward are the closed form C_t", "[conformance]", KEDGE_BACKENDS) {
  using tensor = typename TestType::tensor;
  double const alpha = GENERATE(0.0, 0.3, 0.6, 0.9), beta = 0.5;
  std::vector<double> const reward{0, 0.25, -1, 0.7}, start{0.1, -0.4, 0, 0.2};
  kedge::lab::exact_bandit<tensor> problem(TestType::make(reward), beta);
  kedge::extrapolated_weights<kedge::constant_momentum> const schedule{{alpha}};
  auto state = kedge::state_for<tensor>(TestType::make(start), schedule);
  for (std::size_t t = 1; t <= 60; ++t) {
    REQUIRE(kedge::run(state, schedule, problem, t) == kedge::status::done);
    double const power = std::pow(alpha, static_cast<double>(t));
    double const c = (static_cast<double>(t) - alpha * (1 - power) / (1 - alpha)) / (1 - alpha);
    std::vector<double> expected = start;
    for (std::size_t y = 0; y < expected.size(); ++y) expected[y] += c / beta * reward[y];
    INFO("alpha " << alpha << ", round " << t);
    if (TestType::tolerance < 1e-12) {
      auto const found = TestType::values(state.theta);
      for (std::size_t y = 0; y < expected.size(); ++y) CHECK(std::abs(found[y] - expected[y]) <= 1e-10);
    } else {
      kedge::conformance::check_equal(TestType::values(state.theta), expected, 200 * TestType::tolerance);
    }
  }
}
