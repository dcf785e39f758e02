// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <numbers>
#include <vector>

#include <kedge/kedge.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

using point = std::vector<double>;

point affine(std::vector<double> const& weights, std::vector<point> const& points) {
  return affine_combination<point>(weights, std::span<point const>(points));
}

void check_close(point const& found, point const& expected, double tolerance = 1e-14) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK_THAT(found[i], WithinAbs(expected[i], tolerance));
}

}  // namespace

TEST_CASE("an affine combination is the weighted sum", "[averages]") {
  CHECK(affine({0.25, 0.75}, {{4, 0}, {0, 8}}) == point{1, 6});
  CHECK(affine({2, -1}, {{3, 1}, {1, 1}}) == point{5, 1});
}

TEST_CASE("a soup of one point is the point, of equal points too", "[averages]") {
  point const x{0.1, -1e-300, 3.7};
  CHECK(affine({1}, {x}) == x);
  check_close(affine({0.3, 0.3, 0.4}, {x, x, x}), x, 1e-15);
}

TEST_CASE("the order of a soup's points doesn't matter", "[averages]") {
  check_close(affine({0.2, 0.3, 0.5}, {{1, 2}, {3, 5}, {-7, 11}}), affine({0.5, 0.2, 0.3}, {{-7, 11}, {1, 2}, {3, 5}}));
}

TEST_CASE("weights that don't sum to one are refused", "[averages]") {
  CHECK_THROWS_WITH(affine({0.5, 0.6}, {{1}, {2}}),
                    "affine combination: weights sum to 1.1; they must sum to 1 (divide them by their sum)");
  CHECK_THROWS_AS(affine({0.5, std::nan("")}, {{1}, {2}}), std::invalid_argument);
  CHECK_THROWS_WITH(affine({1}, {{1}, {2}}), contains("1 weights for 2 points"));
  CHECK_THROWS_WITH(affine({}, {}), contains("no points"));
  CHECK_THROWS_WITH(affine({0.5, 0.5}, {{1}, {2, 3}}), contains("must have the same shape"));
}

TEST_CASE("a running mean is the mean", "[averages]") {
  running_mean<point> mean;
  CHECK_THROWS_AS(mean.mean(), std::invalid_argument);
  for (double const x : {1.0, 4.0, -2.0, 7.0}) mean.add({x, 2 * x});
  CHECK(mean.count() == 4);
  check_close(mean.mean(), {2.5, 5});
}

TEST_CASE("ExPO undoes LITI with eta = 1 / (1 + alpha)", "[averages]") {
  point const sft{1, -2}, aligned{4, 0.5};
  check_close(interpolate(sft, expo(aligned, sft, 0.5), 1 / 1.5), aligned);
  check_close(expo(aligned, sft, 0.3), {4.9, 1.25});
  CHECK(interpolate(sft, aligned, 0) == sft);
  CHECK(interpolate(sft, aligned, 1) == aligned);
}

TEST_CASE("task arithmetic adds scaled deltas to the base", "[averages]") {
  std::vector<point> const points{{2, 0}, {0, 3}};
  std::vector<double> const weights{1, 2};
  check_close(task_arithmetic<point>({1, 1}, weights, points, 0.5), {1 + 0.5 * 1 + 0.5 * 2 * -1, 1 + 0.5 * -1 + 0.5 * 2 * 2});
}

TEST_CASE("slerp of equal norms keeps the norm", "[averages]") {
  double const third = std::numbers::pi / 6;
  check_close(slerp<point>({2, 0}, {0, 2}, 1.0 / 3), {2 * std::cos(third), 2 * std::sin(third)});
  check_close(slerp<point>({2, 0}, {0, 2}, 0), {2, 0});
  check_close(slerp<point>({2, 0}, {0, 2}, 1), {0, 2});
}

TEST_CASE("slerp of parallel points is linear", "[averages]") {
  check_close(slerp<point>({1, 1}, {3, 3}, 0.25), {1.5, 1.5});
  CHECK_THROWS_WITH(slerp<point>({0, 0}, {1, 0}, 0.5), contains("origin"));
}

TEST_CASE("slerp around an origin turns deltas", "[averages]") {
  point const origin{10, 10};
  check_close(slerp<point>({11, 10}, {10, 11}, 0.5, &origin), {10 + std::sqrt(0.5), 10 + std::sqrt(0.5)});
}

TEST_CASE("orthogonal deltas: the linear mean shrinks to 1 / sqrt 2, the spherical mean doesn't", "[averages]") {
  std::vector<point> const deltas{{1, 0}, {0, 1}};
  CHECK_THAT(std::hypot(affine({0.5, 0.5}, deltas)[0], affine({0.5, 0.5}, deltas)[1]), WithinAbs(std::sqrt(0.5), 1e-15));
  point const mean = spherical_mean<point>(deltas);
  CHECK_THAT(std::hypot(mean[0], mean[1]), WithinAbs(1, 1e-15));
}

TEST_CASE("the Karcher mean is symmetric in its points and as long as they are on average", "[averages]") {
  std::vector<point> const axes{{1, 0, 0}, {0, 2, 0}, {0, 0, 3}};
  double const each = 2 / std::sqrt(3.0);
  check_close(karcher_mean<point>(axes), {each, each, each}, 1e-12);
  std::vector<point> const pair{{2, 0}, {0, 2}};
  check_close(karcher_mean<point>(pair), slerp(pair[0], pair[1], 0.5), 1e-12);
  CHECK_THROWS_WITH(karcher_mean<point>(std::vector<point>{{1, 0}, {-1, 0}}), contains("cancel"));
}

TEST_CASE("Model Stock of orthogonal deltas is the base, of equal ones their mean", "[averages]") {
  point const base{1, 1};
  check_close(model_stock<point>(base, std::vector<point>{{2, 1}, {1, 2}}), base);
  check_close(model_stock<point>(base, std::vector<point>{{3, 2}, {3, 2}}), {3, 2});
  // Cosine 1/2 between two deltas: t = 2 c / (1 + c) = 2/3.
  point const half = model_stock<point>({0, 0}, std::vector<point>{{1, 0}, {0.5, std::sqrt(0.75)}});
  check_close(half, {2.0 / 3 * 0.75, 2.0 / 3 * std::sqrt(0.75) / 2});
  CHECK_THROWS_WITH(model_stock<point>(base, std::vector<point>{base, base}), contains("has no direction"));
}

TEST_CASE("a greedy soup takes a point only if the mean gets better", "[averages]") {
  // The score is minus the distance from 1: -1 and 3.2 average near it, 9 doesn't help.
  std::vector<point> const points{{9}, {3.2}, {-1}};
  int calls = 0;
  auto const found = greedy_soup<point>(points, [&](point const& x) {
    ++calls;
    return -std::abs(x[0] - 1);
  });
  CHECK(found.taken == std::vector<std::size_t>{2, 1});
  check_close(found.soup, {1.1});
  CHECK_THAT(found.score, WithinAbs(-0.1, 1e-15));
  CHECK(calls == 5);
}

TEST_CASE("a greedy soup is never worse than its best point", "[averages]") {
  std::vector<point> const points{{0.9}, {4}, {-3}};
  auto const found = greedy_soup<point>(points, [](point const& x) { return -std::abs(x[0] - 1); });
  CHECK(found.taken.front() == 0);
  CHECK(found.score >= -0.1);
}

TEST_CASE("a greedy soup takes a point that changes nothing: at least as high, as in the paper", "[averages]") {
  std::vector<point> const equal{{1}, {1}, {1}};
  CHECK(greedy_soup<point>(equal, [](point const& x) { return x[0]; }).taken == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("the greedy rule tells what it tried, and what the mean with it scored", "[averages]") {
  std::vector<double> const own{0.2, 0.9, 0.9, 0.5};
  auto const trials =
      greedy_selection(own, [](std::vector<std::size_t> const& taken) { return taken.back() == 3 ? 0.1 : 1.0; });
  REQUIRE(trials.size() == 4);
  std::size_t const order[] = {1, 2, 3, 0};
  for (std::size_t i = 0; i < 4; ++i) CHECK(trials[i].point == order[i]);
  CHECK((trials[0].taken && trials[1].taken && !trials[2].taken && trials[3].taken));
  CHECK((trials[0].score == 0.9 && trials[2].score == 0.1 && trials[2].own_score == 0.5));
  CHECK_THROWS_WITH(greedy_selection({}, [](auto const&) { return 0.0; }), contains("no points"));
}

TEST_CASE("coefficients of a Gram matrix are scale-free, and tiny vectors have directions too", "[averages]") {
  double const tiny = 1e-30;
  std::vector<point> const deltas{{tiny, 0}, {0, tiny}, {tiny, tiny}};
  check_close(karcher_mean<point>(std::span(deltas).first(2)), {std::sqrt(0.5) * tiny, std::sqrt(0.5) * tiny}, 1e-12 * tiny);
  auto const one = model_stock_coefficients(gram_of<point>(deltas));
  std::vector<point> const large{{1, 0}, {0, 1}, {1, 1}};
  auto const other = model_stock_coefficients(gram_of<point>(large));
  for (std::size_t i = 0; i < 3; ++i) CHECK_THAT(one[i], WithinAbs(other[i], 1e-14));
  CHECK_THROWS_WITH(slerp_coefficients(gram_of<point>(large), 0.5), contains("3 vectors"));
}

TEST_CASE("tensorwise makes one sphere a layer", "[averages]") {
  std::vector<point> const x{{1, 0}, {5, 0}}, y{{0, 1}, {0, 5}};
  auto const mean = tensorwise([](point const& a, point const& b) { return slerp(a, b, 0.5); }, x, y);
  check_close(mean[0], {std::sqrt(0.5), std::sqrt(0.5)});
  check_close(mean[1], {5 * std::sqrt(0.5), 5 * std::sqrt(0.5)});
}
