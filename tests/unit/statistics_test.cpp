// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <kedge/lab/harness/claims.hpp>

#include "support/catch.hpp"

using namespace kedge::lab;
using kedge::testing::WithinAbs;
using kedge::testing::WithinRel;
using vector = std::vector<double>;

// Golden numbers: tests/golden/make_statistics.py, by SciPy.
TEST_CASE("tails and quantiles of Student's t are SciPy's", "[statistics]") {
  CHECK_THAT(student_t_above(0.3, 1), WithinRel(4.072264209222577e-01, 1e-11));
  CHECK_THAT(student_t_above(2.0, 3), WithinRel(6.966298427942152e-02, 1e-11));
  CHECK_THAT(student_t_above(1.96, 9), WithinRel(4.082220273020832e-02, 1e-11));
  CHECK_THAT(student_t_above(4.5, 19), WithinRel(1.225922557920999e-04, 1e-11));
  CHECK_THAT(student_t_above(12.0, 29), WithinRel(4.530354166568591e-13, 1e-11));
  CHECK_THAT(student_t_above(3.0, 199), WithinRel(1.522413362553087e-03, 1e-11));
  CHECK_THAT(student_t_two_sided(0.95, 1), WithinRel(1.270620473617469e+01, 1e-10));
  CHECK_THAT(student_t_two_sided(0.95, 4), WithinRel(2.776445105197793e+00, 1e-10));
  CHECK_THAT(student_t_two_sided(0.95, 19), WithinRel(2.093024054408309e+00, 1e-10));
  CHECK_THAT(student_t_two_sided(0.9, 9), WithinRel(1.833112932656237e+00, 1e-10));
  CHECK_THAT(student_t_two_sided(0.99, 199), WithinRel(2.600760216058516e+00, 1e-10));
  CHECK(student_t_above(0, 7) == 0.5);
  CHECK_THAT(student_t_above(1, 1), WithinAbs(0.25, 1e-14));
  CHECK_THAT(student_t_above(-1, 1), WithinAbs(0.75, 1e-14));
}

TEST_CASE("intervals and p-values of a sample are SciPy's", "[statistics]") {
  vector const x{0.31, -0.12, 0.55, 0.08, 0.27, 0.44, -0.05};
  CHECK_THAT(mean_interval(x).low, WithinRel(-1.993255412675082e-02, 1e-9));
  CHECK_THAT(mean_interval(x).high, WithinRel(4.427896969838936e-01, 1e-9));
  CHECK_THAT(p_above(x, 0.1), WithinRel(1.416091502959873e-01, 1e-10));
  CHECK_THAT(p_below(x, 0.1), WithinRel(8.583908497040127e-01, 1e-10));
  CHECK_THAT(p_equivalent(x, 0.2, 0.3), WithinRel(1.122744002004749e-02, 1e-10));
  CHECK_THROWS_AS(mean_interval(vector{1}), std::invalid_argument);
}

TEST_CASE("Holm's adjusted p-values never fall with rank and are at most one", "[statistics]") {
  vector const adjusted = holm_adjusted(vector{0.01, 0.04, 0.03, 0.005});
  vector const by_hand{0.03, 0.06, 0.06, 0.02};
  for (std::size_t i = 0; i < 4; ++i) CHECK_THAT(adjusted[i], WithinAbs(by_hand[i], 1e-15));
  CHECK(holm_adjusted(vector{0.9, 0.8}) == vector{1, 1});
  CHECK(holm_adjusted(vector{}).empty());
}

namespace {

vector around(double mean, double spread, std::size_t n) {
  vector x;
  for (std::size_t i = 0; i < n; ++i) x.push_back(mean + spread * (i % 2 == 0 ? 1 : -1));
  return x;
}

verdict judged(claims c) {
  claims* const all[] = {&c};
  judge(all);
  return c.list.back().judged;
}

}  // namespace

TEST_CASE("a claim about a mean holds, fails or does not show", "[statistics]") {
  auto more = [](double mean) {
    claims c;
    c.mean_above("more", 0, around(mean, 1, 20));
    return judged(c);
  };
  CHECK(more(2) == verdict::holds);
  CHECK(more(0.1) == verdict::not_shown);
  CHECK(more(-2) == verdict::fails);
  auto equal = [](double mean, double spread) {
    claims c;
    c.mean_near("equal", 0, 0.5, around(mean, spread, 20));
    return judged(c);
  };
  CHECK(equal(0, 0.1) == verdict::holds);
  CHECK(equal(0, 10) == verdict::not_shown);  // an interval that contains 0 shows nothing
  CHECK(equal(2, 0.1) == verdict::fails);
  CHECK(equal(0.3, 0.1) == verdict::holds);  // different from 0, and within what counts as none
}

TEST_CASE("a claim that would hold alone need not hold among many", "[statistics]") {
  vector const weak = around(0.42, 1, 20);  // p about 0.04
  claims alone;
  alone.mean_above("weak", 0, weak);
  CHECK(judged(alone) == verdict::holds);
  claims first, second;
  for (int i = 0; i < 5; ++i) first.mean_above("weak", 0, weak);
  second.mean_above("strong", 0, around(3, 1, 20));
  claims* const all[] = {&first, &second};
  judge(all);
  CHECK(first.list[0].judged == verdict::not_shown);
  CHECK(second.list[0].judged == verdict::holds);
  CHECK(first.worst() == verdict::not_shown);
}

TEST_CASE("a claim without its premise is not judged, and the outcome does not hold", "[statistics]") {
  claims c;
  c.near("right", 1, 1, 0);
  CHECK(c.holds());
  c.given(false, "a small step");
  c.near("wrong", 1, 2, 0);
  c.mean_above("more", 0, around(3, 1, 20));
  c.given(true, "a start");
  c.below("less", 1, 0);
  claims* const all[] = {&c};
  judge(all);
  CHECK(c.list[1].judged == verdict::premise_fails);
  CHECK(c.list[1].missing == "a small step");
  CHECK(c.list[2].judged == verdict::premise_fails);
  CHECK(c.list[3].judged == verdict::holds);
  CHECK_FALSE(c.holds());
  CHECK(c.worst() == verdict::premise_fails);
}

TEST_CASE("NaN fails every claim", "[statistics]") {
  claims c;
  c.near("near", 0, std::nan(""), 1);
  c.below("below", 0, std::nan(""));
  c.above("above", 0, std::nan(""));
  vector broken = around(3, 1, 20);
  broken[3] = std::nan("");
  c.mean_above("more", 0, broken);
  claims* const all[] = {&c};
  judge(all);
  for (claim const& one : c.list) CHECK(one.judged != verdict::holds);
}
