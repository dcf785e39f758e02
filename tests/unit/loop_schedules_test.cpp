// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"
#include "unit/toy_problems.hpp"

using namespace kedge;
using namespace kedge::testing;

TEST_CASE("a fixed anchor stays the first start, an anchor of the caller's stays too", "[schedules]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, fixed_anchor{});
  REQUIRE(run(s, fixed_anchor{}, problem, 4) == status::done);
  CHECK(s.anchor.front().point == vector{0.2, 0.3});
  auto salsa = begin({0.2, 0.3}, fixed_anchor{});
  salsa.anchor.push_back({1.0, vector{5, 5}});
  REQUIRE(run(salsa, fixed_anchor{}, problem, 4) == status::done);
  CHECK(salsa.anchor.front().point == vector{5, 5});
  CHECK(salsa.theta != s.theta);
}

TEST_CASE("TR-DPO's hard update is hand-off, a weight of 0 a fixed anchor", "[schedules]") {
  CHECK(result_of(ema_anchor{1}) == result_of(hand_off{}));
  CHECK(result_of(ema_anchor{0}) == result_of(fixed_anchor{}));
  CHECK(result_of(every<ema_anchor>{1, {0.6}}) == result_of(ema_anchor{0.6}));
  CHECK(result_of(every<ema_anchor>{9, {1}}) == result_of(fixed_anchor{}));
}

TEST_CASE("the soup anchor is the mean of all results", "[schedules]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, soup_anchor{});
  vector sum = s.theta;
  for (std::size_t t = 1; t <= 3; ++t) {
    REQUIRE(run(s, soup_anchor{}, problem, t) == status::done);
    if (t < 3) axpby(1, s.theta, 1, sum);
  }
  CHECK_THAT(s.anchor.front().point[0], WithinAbs(sum[0] / 3, 1e-15));
}

TEST_CASE("BEMA is the EMA plus a decaying share of the way from the start", "[schedules]") {
  bema_anchor const schedule{.kappa = 0.5, .eta = 0.2, .rho = 10, .gamma = 1};
  auto s = begin({1}, schedule);
  schedule.place(s, s.memory);
  s.theta = {3};
  s.round = 1;
  schedule.place(s, s.memory);
  double const b = std::pow(11, -0.5), a = std::pow(11, -0.2);
  CHECK_THAT(s.anchor.front().point[0], WithinAbs((1 - b) * 1 + b * 3 + a * 2, 1e-15));
}

TEST_CASE("recent anchors weigh the newest first and sum to one from the first round on", "[schedules]") {
  recent_anchors const schedule{{0.5, 0.3, 0.2}};
  auto s = begin({0}, schedule);
  for (std::size_t t = 0; t < 5; ++t) {
    s.theta = {static_cast<double>(t)};
    s.round = t;
    schedule.place(s);
    double sum = 0;
    for (auto const& term : s.anchor) sum += term.weight;
    CHECK_THAT(sum, WithinAbs(1, 1e-15));
    CHECK(s.anchor.front().point[0] == static_cast<double>(t));
  }
  CHECK(s.anchor.size() == 3);
  CHECK_THAT(s.anchor[2].weight, WithinAbs(0.2, 1e-15));
  auto refused = begin({0}, schedule);
  CHECK_THROWS_AS((recent_anchors{{0.5, 0.6}}.place(refused)), std::invalid_argument);
}

TEST_CASE("INPO's anchor is base and last result in log space", "[schedules]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, inpo_anchor{});
  REQUIRE(run(s, inpo_anchor{0.25}, problem, 2) == status::done);
  CHECK(s.anchor[0].point == vector{0.2, 0.3});
  CHECK(s.anchor[0].weight == 0.25);
  CHECK(s.anchor[1].weight == 0.75);
}

TEST_CASE("MRPO's reference is the weighted harmonic mean of probabilities", "[schedules]") {
  auto const mean = harmonic_mean({0.25, 0.75}, {{std::log(0.5), -5000}, {std::log(0.1), -5001}});
  CHECK_THAT(mean[0], WithinAbs(std::log(1 / (0.25 / 0.5 + 0.75 / 0.1)), 1e-15));
  CHECK_THAT(mean[1], WithinAbs(-5000 - std::log(0.25 + 0.75 * std::exp(1.0)), 1e-12));
  CHECK_THROWS_AS(harmonic_mean({0.5, 0.6}, {{0}, {0}}), std::invalid_argument);
  CHECK_THROWS_AS(harmonic_mean({1.5, -0.5}, {{0}, {0}}), std::invalid_argument);

  pulled problem{targets};
  auto s = begin({0.2, 0.3}, harmonic_anchor{});
  s.anchor.push_back({0.5, vector{-1, -1}});
  s.anchor.push_back({0.5, vector{-2, -1}});
  problem.stop_after = 1;
  REQUIRE(run(s, harmonic_anchor{}, problem, 1) == status::stopped);
  CHECK_THAT(s.cached->at(0)[0], WithinAbs(-std::log((std::exp(1.0) + std::exp(2.0)) / 2), 1e-15));
  CHECK_THAT(s.cached->at(0)[1], WithinAbs(-1, 1e-15));
}

TEST_CASE("anchor weights that don't sum to one are refused before the solver runs", "[schedules]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, fixed_anchor{});
  s.anchor.push_back({0.5, vector{1, 1}});
  CHECK_THROWS_WITH(run(s, fixed_anchor{}, problem, 1), contains("weights sum to 0.5"));
  CHECK(problem.taken == 0);
}

TEST_CASE("a moving magnet adds (r/beta) (1 - (1-w)^k)/w to the logits from one move to the next", "[schedules]") {
  vector const reward{1, 0, -0.5};
  double const beta = 0.8, w = 0.3;
  std::size_t const k = 4;
  lab::exact_bandit<vector> problem(reward, beta);
  moving_magnet const schedule{.weight = w, .k = k};
  auto s = begin({0.1, 0, 0.2}, schedule);
  for (std::size_t phase = 1; phase <= 3; ++phase) {
    REQUIRE(run(s, schedule, problem, phase * k) == status::done);
    double const gain = static_cast<double>(phase) * (1 - std::pow(1 - w, 4.0)) / w / beta;
    CHECK_THAT(s.theta[0], WithinAbs(0.1 + gain, 1e-12));
    CHECK_THAT(s.theta[2], WithinAbs(0.2 - gain / 2, 1e-12));
  }
  // Never moved, it is INPO, whose logits stop at start + r/(beta w); moved each round, a hand-off.
  CHECK(result_of(moving_magnet{.weight = 0.25, .k = 100}) == result_of(inpo_anchor{0.25}));
  CHECK_THAT(result_of(moving_magnet{.weight = 0.25, .k = 1})[0], WithinAbs(result_of(hand_off{})[0], 1e-14));
}

TEST_CASE("in a cyclic game a fixed magnet stops short of the equilibrium and a moving one goes on to it", "[schedules]") {
  lab::preference_game const game = lab::rock_paper_scissors();
  vector const start{1.5, 0, -0.7};
  double const eta = 0.2, m = 0.05, w = eta * m / (1 + eta * m);
  auto gap_after = [&](auto const& schedule, std::size_t rounds) {
    mirror_problem problem(game, start, {.eta = eta / (1 + eta * m)});
    auto s = state_for<vector>(start, schedule, problem);
    REQUIRE(run(s, schedule, problem, rounds) == status::done);
    return game.duality_gap(lab::softmax(s.theta));
  };
  CHECK(gap_after(hand_off{}, 2000) > 0.1);
  CHECK_THAT(gap_after(inpo_anchor{w}, 4000), WithinAbs(gap_after(inpo_anchor{w}, 3000), 1e-9));
  CHECK(gap_after(inpo_anchor{w}, 4000) > 0.1);
  CHECK(gap_after(moving_magnet{.weight = w, .k = 100}, 2000) < 1e-10);
}

TEST_CASE("Halpern's anchored rounds keep the residual below 2 R / (t + 1) where plain ones turn for ever", "[schedules]") {
  quarter_turn problem;
  auto s = begin({3, 4}, halpern_anchor{});
  auto plain = begin({3, 4});
  for (std::size_t t = 0; t < 200; ++t) {
    REQUIRE(run(s, halpern_anchor{}, problem, t) == status::done);
    REQUIRE(run(plain, hand_off{}, problem, t) == status::done);
    double const n = static_cast<double>(t);
    vector x = s.theta;  // x_t = x_0/(t+1) + t/(t+1) θ̂_t
    axpby(1 / (n + 1), vector{3, 4}, n / (n + 1), x);
    double const residual = std::hypot(x[0] + x[1], x[1] - x[0]);
    CHECK(residual <= 2 * 5 / (n + 1) + 1e-12);  // reached where t is 1 or 2 more than a multiple of 4
    CHECK_THAT(std::hypot(plain.theta[0], plain.theta[1]), WithinAbs(5, 1e-12));
  }
}

TEST_CASE("FISTA's and Gueler's momentum keep 2 beta R^2 / (t + 1)^2 and fall with slope -2, plain rounds with -1",
          "[schedules]") {
  quadratic problem{{}, 0.5};
  for (double curvature = 1; curvature > 1e-7; curvature /= 1.3) problem.k.push_back(curvature);
  vector const start(problem.k.size(), 1.0);
  double const radius2 = dot(start, start);
  auto values = [&](auto const& schedule) {
    auto s = begin(start, schedule);
    vector found;
    for (std::size_t t = 1; t <= 400; ++t) {
      REQUIRE(run(s, schedule, problem, t) == status::done);
      found.push_back(problem.value(s.theta));
    }
    return found;
  };
  vector const plain = values(hand_off{}), fista = values(extrapolated_weights{fista_momentum{}});
  for (std::size_t t = 1; t <= 400; ++t) {
    double const n = static_cast<double>(t + 1);
    CHECK(fista[t - 1] <= 2 * problem.beta * radius2 / (n * n));
  }
  CHECK_THAT(lab::fit_power(plain, 50, 400).slope, WithinAbs(-1, 0.1));
  CHECK(lab::fit_power(fista, 50, 400).slope < -1.8);
  CHECK(values(extrapolated_weights{guler_momentum{{0.5}}}) == fista);
}

TEST_CASE("Gueler's momentum keeps f <= R^2 beta_t / (2 t_t^2) where every round has a step of its own", "[schedules]") {
  vector const betas{2, 0.5, 1, 0.25, 4, 0.5};
  guler_momentum const rule{betas};
  extrapolated_weights const schedule{rule};
  quadratic problem{{1, 0.1, 0.01, 0.001}};
  auto s = begin({1, 1, 1, 1}, schedule);
  double root = 1;
  for (std::size_t t = 1; t <= betas.size(); ++t) {
    problem.beta = betas[t - 1];
    if (t > 1) root = (1 + std::sqrt(1 + 4 * root * root * betas[t - 1] / betas[t - 2])) / 2;
    REQUIRE(run(s, schedule, problem, t) == status::done);
    CHECK(problem.value(s.theta) <= 4 * betas[t - 1] / (2 * root * root));
  }
}

TEST_CASE("the strongly convex momentum contracts by 1 - 1/sqrt(kappa) a round, plain rounds by (1 - 1/kappa)^2",
          "[schedules]") {
  double const mu = 0.001, beta = 1, kappa = 1 + beta / mu;
  quadratic problem{{1, 0.03, mu}, beta};
  extrapolated_weights const schedule{strongly_convex_momentum{kappa}};
  auto fast = begin({1, 1, 1}, schedule);
  auto plain = begin({1, 1, 1});
  REQUIRE(run(fast, schedule, problem, 400) == status::done);
  REQUIRE(run(plain, hand_off{}, problem, 400) == status::done);
  CHECK_THAT(problem.value(plain.theta), WithinRel(mu / 2 * std::pow(1 - 1 / kappa, 800), 1e-6));
  CHECK(problem.value(fast.theta) <= 2 * problem.value({1, 1, 1}) * std::pow(1 - 1 / std::sqrt(kappa), 400));
}

TEST_CASE("a momentum rule that reads the state is asked with theta, the last iterate and the round", "[schedules]") {
  // Momentum only while the last move still shrinks the iterate.
  struct only_while_shrinking {
    double operator()(state<vector, vector, extrapolated_weights<only_while_shrinking>> const& s) const {
      return dot(s.theta, s.theta) < dot(*s.previous, *s.previous) ? 0.9 : 0;
    }
  };
  extrapolated_weights<only_while_shrinking> const schedule{};
  quadratic problem{{0.5}};
  auto s = begin({1}, schedule);
  REQUIRE(run(s, schedule, problem, 2) == status::done);
  double const first = 1 / 1.5, start = first + 0.9 * (first - 1);
  CHECK_THAT(s.theta[0], WithinAbs(start / 1.5, 1e-15));
  double const before = s.theta[0];
  s.theta[0] = 5;  // it grew
  REQUIRE(run(s, schedule, problem, 3) == status::done);
  CHECK_THAT(s.theta[0], WithinAbs(5 / 1.5, 1e-15));
  CHECK(before < 1);
}

TEST_CASE("a parameter outside its range is refused at the door, with name and range", "[schedules]") {
  pulled problem{targets};
  auto refused = [&](auto const& schedule, char const* message) {
    auto s = begin({0.2, 0.3}, schedule);
    CHECK_THROWS_WITH(run(s, schedule, problem, 1), message);
  };
  refused(ema_anchor{1.5}, "tau = 1.5; it must be in [0, 1]");
  refused(ema_anchor{std::nan("")}, "tau = nan; it must be in [0, 1]");
  refused(every<ema_anchor>{0}, "every = 0; it must be in [1, 1e+09]");
  refused(every<ema_anchor>{1, {-1}}, "tau = -1; it must be in [0, 1]");
  refused(bema_anchor{.rho = 0}, "rho = 0; it must be in [1, inf)");
  refused(moving_magnet{.weight = 2}, "weight = 2; it must be in [0, 1]");
}
