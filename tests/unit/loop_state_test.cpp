// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/archive.hpp"
#include "support/catch.hpp"
#include "unit/toy_problems.hpp"

using namespace kedge;
using namespace kedge::testing;

namespace {

// What a checkpoint does: the parts, written and read into a state that has only just begun.
template <class State>
State saved_and_restored(State const& s) {
  archive file;
  file.save("state", s);
  State restored(vector(s.theta.size(), -77.0));
  file.restore("state", restored);
  return restored;
}

// Stopped at every step of every round, and saved and restored each time, a run ends in the undisturbed run's bits.
template <class Schedule>
void check_resume(Schedule const& schedule) {
  vector const whole = result_of(schedule);
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, schedule);
  status ended = status::stopped;
  while (ended != status::done) {
    s = saved_and_restored(s);
    problem.stop_after = 1;
    ended = run(s, schedule, problem, targets.size());
    if (problem.taken == 0 && s.in_round) FAIL("a stop inside a round keeps its steps");
  }
  CHECK(s.theta == whole);
}

// Copies share their storage, as at::Tensor's do.
struct aliasing {
  std::shared_ptr<vector> values;
};

}  // namespace

template <>
struct kedge::tensor_traits<aliasing> {
  static aliasing deep_copy(aliasing const& x) { return {std::make_shared<vector>(*x.values)}; }
  static void axpby(double a, aliasing const& x, double b, aliasing& y) { kedge::axpby(a, *x.values, b, *y.values); }
  static double dot(aliasing const& x, aliasing const& y) { return kedge::dot(*x.values, *y.values); }
};

TEST_CASE("every schedule resumes from its saved parts bit for bit, at every step", "[state]") {
  check_resume(hand_off{});
  check_resume(fixed_anchor{});
  check_resume(ema_anchor{});
  check_resume(soup_anchor{});
  check_resume(bema_anchor{});
  check_resume(inpo_anchor{});
  check_resume(recent_anchors{{0.5, 0.3, 0.2}});
  check_resume(harmonic_anchor{});
  check_resume(every<ema_anchor>{2});
  check_resume(every<bema_anchor>{2});
  check_resume(every<soup_anchor>{3});
  check_resume(moving_magnet{.k = 2});
  check_resume(halpern_anchor{});
  check_resume(extrapolated_weights{constant_momentum{0.3}});
  check_resume(extrapolated_weights{guler_momentum{{1, 0.5}}});
  check_resume(extrapolated_log_probs{nesterov_momentum{3}});
}

TEST_CASE("a mirror step with optimism or extragradient goes on from a copy, and a second start knows nothing of the first",
          "[state]") {
  lab::preference_game const game = lab::rock_paper_scissors();
  vector const start{0.3, 0, -0.2};
  for (mirror_step const step :
       {mirror_step{.eta = 0.2, .optimism = 1}, mirror_step{.eta = 0.2, .magnet = 0.1, .extragradient = true}}) {
    mirror_problem problem(game, start, step);
    auto whole = state_for<vector>(start, hand_off{}, problem);
    REQUIRE(run(whole, hand_off{}, problem, 7) == status::done);
    auto s = state_for<vector>(start, hand_off{}, problem);
    for (std::size_t t = 1; t <= 7; ++t) {
      s = saved_and_restored(s.copy());
      REQUIRE(run(s, hand_off{}, problem, t) == status::done);
    }
    CHECK(s.theta == whole.theta);
  }
}

TEST_CASE("mirror steps that would drop a setting are refused", "[state]") {
  lab::preference_game const game = lab::rock_paper_scissors();
  vector const start{0.3, 0, -0.2};
  CHECK_THROWS_WITH((mirror_problem(game, start, mirror_step{.optimism = 1, .extragradient = true})),
                    contains("optimism = 1 with extragradient; both foresee the next reward, choose one"));
  mirror_problem problem(game, start, {.reward_at_result = true});
  auto s = state_for<vector>(start, hand_off{}, problem);
  CHECK_THROWS_WITH(run(s, hand_off{}, problem, 1), contains("reward_at_result needs a schedule with momentum"));
}

TEST_CASE("a copy has every point of its own, those in a schedule's memory too", "[state]") {
  auto point = [](double x) { return aliasing{std::make_shared<vector>(1, x)}; };
  state<aliasing, vector, bema_anchor> s(point(1));
  bema_anchor{}.place(s, s.memory);
  s.previous = point(2);
  auto const twin = s.copy();
  for (aliasing* p : {&s.theta, &*s.previous, &s.anchor[0].point, &*s.memory.start, &*s.memory.average}) (*p->values)[0] = 99;
  CHECK((*twin.theta.values)[0] == 1);
  CHECK((*twin.previous->values)[0] == 2);
  CHECK((*twin.anchor[0].point.values)[0] == 1);
  CHECK((*twin.memory.start->values)[0] == 1);
  CHECK((*twin.memory.average->values)[0] == 1);
}

TEST_CASE("another schedule takes over by a stated conversion: theta and rounds go on, anchor and momentum begin anew",
          "[state]") {
  pulled problem{targets};
  auto fixed = begin({0.2, 0.3}, fixed_anchor{});
  REQUIRE(run(fixed, fixed_anchor{}, problem, 2) == status::done);
  vector const reached = fixed.theta;
  auto s = with_schedule<inpo_anchor>(std::move(fixed));
  CHECK(s.anchor.empty());
  CHECK(s.round == 2);
  REQUIRE(run(s, inpo_anchor{0.25}, problem, 4) == status::done);
  CHECK(s.anchor[0].point == reached);
  CHECK(s.anchor[1].weight == 0.75);

  auto open = begin({0.2, 0.3});
  problem.stop_after = 1;
  REQUIRE(run(open, hand_off{}, problem, 1) == status::stopped);
  CHECK_THROWS_WITH(with_schedule<ema_anchor>(std::move(open)), contains("round 0 is not over"));
}

TEST_CASE("a mean of results that another schedule's rounds precede is of its own rounds", "[state]") {
  pulled problem{targets};
  auto plain = begin({0.2, 0.3});
  REQUIRE(run(plain, hand_off{}, problem, 2) == status::done);
  auto s = with_schedule<soup_anchor>(std::move(plain));
  vector const first = s.theta;
  REQUIRE(run(s, soup_anchor{}, problem, 3) == status::done);
  vector const second = s.theta;
  REQUIRE(run(s, soup_anchor{}, problem, 4) == status::done);
  CHECK_THAT(s.anchor.front().point[0], WithinAbs((first[0] + second[0]) / 2, 1e-15));
}

TEST_CASE("a state of a point alone is one of pairs, and names its schedule if it is given one", "[state]") {
  state s(vector{1, 2});
  static_assert(std::is_same_v<decltype(s), state<vector, pair_log_probs, hand_off>>);
  state t(vector{1, 2}, ema_anchor{});
  static_assert(std::is_same_v<decltype(t), state<vector, pair_log_probs, ema_anchor>>);
  CHECK(s.theta == t.theta);
}

TEST_CASE("a result with NaN or infinity is diverged, whatever the solver says", "[state]") {
  struct careless : pulled {
    double value;
    status solve(vector& theta, vector const&, vector const&, std::size_t round) {
      if (round == 1) theta[0] = value;
      return status::done;
    }
  };
  for (double const value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    careless problem{{targets}, value};
    auto s = begin({0, 0});
    CHECK(run(s, hand_off{}, problem, 4) == status::diverged);
    CHECK(s.round == 1);
    CHECK(s.in_round);
  }
}
