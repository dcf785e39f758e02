// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <type_traits>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"
#include "unit/toy_problems.hpp"

using namespace kedge;
using namespace kedge::testing;
using kedge::lab::vector;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

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
      auto first = begin({0.2, 0.3}, schedule);
      REQUIRE(run(first, schedule, problem, targets.size()) == status::stopped);
      auto resumed = first.copy();  // what a checkpoint would hold
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
  extrapolated_weights<constant_momentum> const schedule{{0.5}};
  auto s = begin({0.2, 0.3}, schedule);
  REQUIRE(run(s, schedule, problem, 1) == status::done);
  REQUIRE(run(s, schedule, problem, targets.size()) == status::done);
  CHECK(s.theta == result_of(schedule));
  CHECK(s.round == targets.size());
}

TEST_CASE("the reference is scored once a round, an effective one once a term", "[loop]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3});
  REQUIRE(run(s, hand_off{}, problem, 4) == status::done);
  CHECK(problem.scored == 4);
  problem.scored = 0;
  extrapolated_log_probs<constant_momentum> const looks_back{{0.3}};
  auto t = begin({0.2, 0.3}, looks_back);
  REQUIRE(run(t, looks_back, problem, 4) == status::done);
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
    status solve(vector&, vector const&, vector const&, std::size_t round) {
      return round == 1 ? status::diverged : status::done;
    }
  } problem{{targets}};
  auto s = begin({0, 0});
  CHECK(run(s, hand_off{}, problem, 4) == status::diverged);
  CHECK(s.round == 1);
  CHECK(s.in_round);
}

TEST_CASE("observers see starts and ends of rounds and may stop between them", "[loop]") {
  struct observer {
    std::vector<std::size_t> starts, ends;
    void on_round_start(state<vector, vector> const& s, vector const&) { starts.push_back(s.round); }
    void on_round_end(state<vector, vector> const& s) { ends.push_back(s.round); }
    bool should_stop(state<vector, vector> const& s) const { return s.round == 2; }
  } seen;
  pulled problem{targets};
  auto s = begin({0, 0});
  CHECK(run(s, hand_off{}, problem, 4, seen) == status::stopped);
  CHECK(seen.starts == std::vector<std::size_t>{0, 1});
  CHECK(seen.ends == std::vector<std::size_t>{1, 2});
}

TEST_CASE("the result is the non-extrapolated iterate", "[loop]") {
  lab::exact_bandit<vector> problem({1, 0}, 1);
  extrapolated_weights<constant_momentum> const schedule{{0.5}};
  auto s = begin({0, 0}, schedule);
  REQUIRE(run(s, schedule, problem, 3) == status::done);
  CHECK(s.theta[0] == 4.25);  // C_3 at alpha = 1/2; extrapolated it would be 6
  CHECK(s.previous->at(0) == 2.5);
}

TEST_CASE("a restart begins momentum anew", "[loop]") {
  lab::exact_bandit<vector> problem({1}, 1);
  extrapolated_weights<constant_momentum> const schedule{{0.5}};
  auto s = begin({0}, schedule);
  REQUIRE(run(s, schedule, problem, 2) == status::done);
  CHECK(s.theta[0] == 2.5);
  restart(s);
  REQUIRE(run(s, schedule, problem, 4) == status::done);
  CHECK(s.theta[0] == 5.0);  // two fresh rounds: 1 and 1.5 more
}

TEST_CASE("adaptive restart tames momentum on a quadratic", "[loop]") {
  // Constant momentum near one overshoots and rings.
  quadratic problem{{0.1}};
  auto objective = [](auto const& s) { return s.theta[0] * s.theta[0]; };
  extrapolated_weights<constant_momentum> const schedule{{0.98}};
  auto plain = begin({1}, schedule), by_value = plain.copy(), by_turn = plain.copy();
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
