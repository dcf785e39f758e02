// SPDX-License-Identifier: Apache-2.0
#include <kedge/kedge.hpp>
#include <kedge/lab/bounds.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::contains;
using kedge::testing::WithinAbs;
using kedge::testing::WithinRel;

TEST_CASE("the accumulated steps of constant momentum are the closed form C_t", "[momentum]") {
  for (double const alpha : {0.0, 0.1, 0.3, 0.5, 0.6, 0.9})
    for (std::size_t t = 1; t <= 100; ++t)
      CHECK_THAT(accumulated_steps(constant_momentum{alpha}, t), WithinRel(lab::constant_steps(alpha, t), 1e-12));
  CHECK_THAT(accumulated_steps(constant_momentum{0.3}, 10), WithinAbs(13.673473, 5e-7));
  CHECK_THAT(accumulated_steps(constant_momentum{0.9}, 100), WithinAbs(910.002391, 5e-7));
}

TEST_CASE("Nesterov's schedule accumulates t (t + 7) / 8 steps with s = 3, t (t + 5) / 6 with s = 2", "[momentum]") {
  for (std::size_t t = 1; t <= 100; ++t) {
    double const n = static_cast<double>(t);
    CHECK_THAT(accumulated_steps(nesterov_momentum{3}, t), WithinRel(n * (n + 7) / 8, 1e-12));
    CHECK_THAT(accumulated_steps(nesterov_momentum{2}, t), WithinRel(n * (n + 5) / 6, 1e-12));
    CHECK_THAT(lab::nesterov_steps(3, t), WithinRel(n * (n + 7) / 8, 1e-12));
  }
}

TEST_CASE("the effective beta is beta T / C_T", "[momentum]") {
  CHECK_THAT(effective_beta(1, constant_momentum{0.3}, 3), WithinAbs(0.81301, 5e-6));
  CHECK(effective_beta(0.1, no_momentum{}, 7) == 0.1);
  CHECK_THROWS_WITH(effective_beta(0, no_momentum{}, 3), "effective_beta: beta = 0; it must be positive");
  CHECK_THROWS_AS(effective_beta(1, no_momentum{}, 0), std::invalid_argument);
}

TEST_CASE("APO's variance is that of its null baseline times T sum v^2 over (sum v)^2", "[momentum]") {
  CHECK_THAT(lab::variance_factor(constant_momentum{0.3}, 3), WithinAbs(1.01838, 5e-6));
  CHECK_THAT(lab::variance_factor(constant_momentum{0.5}, 3), WithinAbs(1.0484, 5e-5));
  CHECK_THAT(lab::variance_factor(constant_momentum{0.6}, 3), WithinAbs(1.068, 5e-4));
  CHECK_THAT(lab::variance_factor(constant_momentum{0.9}, 3), WithinAbs(1.139, 5e-4));
  CHECK(lab::variance_factor(no_momentum{}, 9) == 1);
}

TEST_CASE("an alpha below 0, or of 1 and more, is a warning, not an error", "[momentum]") {
  CHECK(theory_warning(constant_momentum{0}).empty());
  CHECK(theory_warning(constant_momentum{0.99}).empty());
  CHECK_THAT(theory_warning(constant_momentum{1}), contains("needs 0 <= alpha < 1"));
  CHECK_THAT(theory_warning(constant_momentum{-0.1}), contains("alpha = -0.1"));
  CHECK_FALSE(theory_warning(constant_momentum{std::nan("")}).empty());
}

TEST_CASE("a list of alphas goes on with its last one and a list of betas has the effective beta of one", "[momentum]") {
  listed_momentum const rule{{0.2, 0.5}};
  CHECK(rule(1) == 0.2);
  CHECK(rule(2) == 0.5);
  CHECK(rule(9) == 0.5);
  std::vector<double> const equal(6, 0.3);
  CHECK_THAT(effective_beta(equal, rule), WithinRel(effective_beta(0.3, rule, 6), 1e-14));
  // Two rounds by hand: c_1 = 1/b_1, c_2 = c_1 (1 + a) + 1/b_2.
  std::vector<double> const two{0.1, 0.4};
  CHECK_THAT(effective_beta(two, constant_momentum{0.5}), WithinRel(2 / (10 * 1.5 + 2.5), 1e-14));
  CHECK_THROWS_AS(effective_beta(std::vector<double>{0.1, 0.0}, rule), std::invalid_argument);
}
