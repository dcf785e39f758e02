// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <type_traits>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::lab::vector;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

using run_state = state<vector, vector>;

// A round of gradient steps on ½‖θ − target_t‖² + ½‖θ − reference‖², which can be stopped at any step.
struct pulled {
  std::vector<vector> targets;
  std::size_t steps = 8;
  std::size_t stop_after = 0;  // 0: never
  std::size_t taken = 0;       // steps of the open round
  std::size_t scored = 0;

  vector const& source(run_state const& s) const { return targets[s.round]; }
  vector score(vector const& theta, vector const&) {
    ++scored;
    return theta;
  }
  status solve(vector& theta, vector const& target, vector const& reference, std::size_t) {
    while (taken < steps) {
      for (std::size_t i = 0; i < theta.size(); ++i) theta[i] -= 0.3 * ((theta[i] - target[i]) + (theta[i] - reference[i]));
      ++taken;
      if (stop_after != 0 && --stop_after == 0) return status::stopped;
    }
    taken = 0;
    return status::done;
  }
};

std::vector<vector> const targets{{1, 2}, {-3, 0.5}, {0.7, 0.1}, {4, -4}};

template <class Schedule>
vector result_of(Schedule const& schedule) {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
  REQUIRE(run(s, schedule, problem, targets.size()) == status::done);
  return s.theta;
}

}  // namespace

TEST_CASE("momentum 0 is iterative training, bit for bit", "[loop]") {
  vector const plain = result_of(hand_off{});
  CHECK(result_of(extrapolated_weights<constant_momentum>{{0}}) == plain);
  CHECK(result_of(extrapolated_log_probs<constant_momentum>{{0}}) == plain);
  CHECK(result_of(extrapolated_weights<no_momentum>{}) == plain);
  CHECK(result_of(extrapolated_weights<constant_momentum>{{0.3}}) != plain);
}

TEST_CASE("a run stopped at any step and resumed ends in the same bits", "[loop]") {
  auto check = [](auto const& schedule) {
    vector const whole = result_of(schedule);
    for (std::size_t stop = 1; stop <= 31; ++stop) {
      pulled problem{targets};
      problem.stop_after = stop;
      run_state first(vector{0.2, 0.3});
      REQUIRE(run(first, schedule, problem, targets.size()) == status::stopped);
      run_state resumed = first.copy();  // what a checkpoint would hold
      REQUIRE(run(resumed, schedule, problem, targets.size()) == status::done);
      CHECK(resumed.theta == whole);
    }
  };
  check(hand_off{});
  check(fixed_anchor{});
  check(ema_anchor{});
  check(soup_anchor{});
  check(bema_anchor{});
  check(inpo_anchor{});
  check(recent_anchors{{0.5, 0.3, 0.2}});
  check(every<ema_anchor>{2});
  check(extrapolated_weights<constant_momentum>{{0.3}});
  check(extrapolated_log_probs<nesterov_momentum>{{3}});
}

TEST_CASE("two calls of run are one", "[loop]") {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
  extrapolated_weights<constant_momentum> const schedule{{0.5}};
  REQUIRE(run(s, schedule, problem, 1) == status::done);
  REQUIRE(run(s, schedule, problem, targets.size()) == status::done);
  CHECK(s.theta == result_of(schedule));
  CHECK(s.round == targets.size());
}

TEST_CASE("the reference is scored once a round, an effective one once a term", "[loop]") {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
  REQUIRE(run(s, hand_off{}, problem, 4) == status::done);
  CHECK(problem.scored == 4);
  problem.scored = 0;
  run_state t(vector{0.2, 0.3});
  REQUIRE(run(t, extrapolated_log_probs<constant_momentum>{{0.3}}, problem, 4) == status::done);
  CHECK(problem.scored == 1 + 2 * 3);
}

TEST_CASE("a reference is refused once the anchor has moved", "[loop]") {
  reference<vector> const cached({-1, -2}, 3);
  CHECK(cached.at(3) == vector{-1, -2});
  CHECK_THROWS_WITH(cached.at(4), contains("used after the anchor moved to 4; score the data again"));
  CHECK_THROWS_AS(cached.at(2), std::logic_error);
}

TEST_CASE("the solver's stop and divergence end the run, a result and not an exception", "[loop]") {
  struct diverging : pulled {
    status solve(vector& theta, vector const&, vector const&, std::size_t round) {
      theta[0] = std::nan("");
      return round == 1 ? status::diverged : status::done;
    }
  } problem{{targets}};
  run_state s(vector{0, 0});
  CHECK(run(s, hand_off{}, problem, 4) == status::diverged);
  CHECK(s.round == 1);
  CHECK(s.in_round);
}

TEST_CASE("observers see starts and ends of rounds and may stop between them", "[loop]") {
  struct observer {
    std::vector<std::size_t> starts, ends;
    void on_round_start(run_state const& s, vector const&) { starts.push_back(s.round); }
    void on_round_end(run_state const& s) { ends.push_back(s.round); }
    bool should_stop(run_state const& s) const { return s.round == 2; }
  } seen;
  pulled problem{targets};
  run_state s(vector{0, 0});
  CHECK(run(s, hand_off{}, problem, 4, seen) == status::stopped);
  CHECK(seen.starts == std::vector<std::size_t>{0, 1});
  CHECK(seen.ends == std::vector<std::size_t>{1, 2});
}

TEST_CASE("the result is the non-extrapolated iterate", "[loop]") {
  lab::exact_bandit<vector> problem({1, 0}, 1);
  run_state s(vector{0, 0});
  REQUIRE(run(s, extrapolated_weights<constant_momentum>{{0.5}}, problem, 3) == status::done);
  CHECK(s.theta[0] == 4.25);  // C_3 at alpha = 1/2; extrapolated it would be 6
  CHECK(s.previous->at(0) == 2.5);
}

TEST_CASE("a restart begins momentum anew", "[loop]") {
  lab::exact_bandit<vector> problem({1}, 1);
  run_state s(vector{0});
  extrapolated_weights<constant_momentum> const schedule{{0.5}};
  REQUIRE(run(s, schedule, problem, 2) == status::done);
  CHECK(s.theta[0] == 2.5);
  restart(s);
  REQUIRE(run(s, schedule, problem, 4) == status::done);
  CHECK(s.theta[0] == 5.0);  // two fresh rounds: 1 and 1.5 more
}

TEST_CASE("adaptive restart tames momentum on a quadratic", "[loop]") {
  // Proximal point on ½ k x²: θ̂ = anchor / (1 + k). Constant momentum near one overshoots and rings.
  struct quadratic {
    double k = 0.1;
    int source(run_state const&) const { return 0; }
    vector score(vector const& theta, int) const { return theta; }
    status solve(vector& theta, int, vector const& anchor, std::size_t) const {
      theta[0] = anchor[0] / (1 + k);
      return status::done;
    }
  } problem;
  auto objective = [](run_state const& s) { return s.theta[0] * s.theta[0]; };
  extrapolated_weights<constant_momentum> const schedule{{0.98}};
  run_state plain(vector{1}), by_value(vector{1}), by_turn(vector{1});
  restart_when_worse guard{objective};
  restart_on_turn<vector> turn;
  REQUIRE(run(plain, schedule, problem, 60) == status::done);
  REQUIRE(run(by_value, schedule, problem, 60, guard) == status::done);
  REQUIRE(run(by_turn, schedule, problem, 60, turn) == status::done);
  CHECK(guard.restarts > 0);
  CHECK(turn.restarts > 0);
  CHECK(objective(by_value) < 0.01 * objective(plain));
  CHECK(objective(by_turn) < 0.01 * objective(plain));
}

TEST_CASE("a fixed anchor stays the first start, an anchor of the caller's stays too", "[schedules]") {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
  REQUIRE(run(s, fixed_anchor{}, problem, 4) == status::done);
  CHECK(s.anchor.front().point == vector{0.2, 0.3});
  run_state salsa(vector{0.2, 0.3});
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
  run_state s(vector{0.2, 0.3});
  vector sum = s.theta;
  for (std::size_t t = 1; t <= 3; ++t) {
    REQUIRE(run(s, soup_anchor{}, problem, t) == status::done);
    if (t < 3) axpby(1, s.theta, 1, sum);
  }
  CHECK_THAT(s.anchor.front().point[0], WithinAbs(sum[0] / 3, 1e-15));
}

TEST_CASE("BEMA is the EMA plus a decaying share of the way from the start", "[schedules]") {
  bema_anchor const schedule{.kappa = 0.5, .eta = 0.2, .rho = 10, .gamma = 1};
  run_state s(vector{1});
  schedule.place(s);
  s.theta = {3};
  s.round = 1;
  schedule.place(s);
  double const b = std::pow(11, -0.5), a = std::pow(11, -0.2);
  CHECK_THAT(s.anchor.front().point[0], WithinAbs((1 - b) * 1 + b * 3 + a * 2, 1e-15));
}

TEST_CASE("recent anchors weigh the newest first and sum to one from the first round on", "[schedules]") {
  recent_anchors const schedule{{0.5, 0.3, 0.2}};
  run_state s(vector{0});
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
  run_state refused(vector{0});
  CHECK_THROWS_AS((recent_anchors{{0.5, 0.6}}.place(refused)), std::invalid_argument);
}

TEST_CASE("INPO's anchor is base and last result in log space", "[schedules]") {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
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
  run_state s(vector{0.2, 0.3});
  s.anchor.push_back({0.5, vector{-1, -1}});
  s.anchor.push_back({0.5, vector{-2, -1}});
  problem.stop_after = 1;
  REQUIRE(run(s, harmonic_anchor{}, problem, 1) == status::stopped);
  CHECK_THAT(s.cached->at(0)[0], WithinAbs(-std::log((std::exp(1.0) + std::exp(2.0)) / 2), 1e-15));
  CHECK_THAT(s.cached->at(0)[1], WithinAbs(-1, 1e-15));
}

TEST_CASE("anchor weights that don't sum to one are refused before the solver runs", "[schedules]") {
  pulled problem{targets};
  run_state s(vector{0.2, 0.3});
  s.anchor.push_back({0.5, vector{1, 1}});
  CHECK_THROWS_WITH(run(s, fixed_anchor{}, problem, 1), contains("weights sum to 0.5"));
  CHECK(problem.taken == 0);
}
