// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include <kedge/kedge.hpp>
#include <kedge/timing.hpp>

#include "support/archive.hpp"
#include "support/catch.hpp"
#include "unit/toy_problems.hpp"

using namespace kedge;
using namespace kedge::testing;

namespace {

double closeness(auto const& s) { return -std::abs(s.theta[0]); }

struct count_rounds {
  int starts = 0, ends = 0;
  void on_round_start(auto const&, auto const&) { ++starts; }
  void on_round_end(auto const&) { ++ends; }
};

}  // namespace

TEST_CASE("several observers are one: all see every round, and one is enough to stop", "[observers]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3});
  count_rounds first, second;
  auto stop = early_stop{[](auto const& state) { return state.round == 2 ? 1.0 : 0.0; }, 1};
  CHECK(run(s, hand_off{}, problem, 4, observers(first, stop, second)) == status::stopped);
  CHECK(s.round == 3);  // the score rose after round 2, and no more after round 3
  CHECK(first.ends == 3);
  CHECK(second.starts == 3);
  CHECK(stop.waited == 1);
}

TEST_CASE("the best point is a copy of its own of the iterate with the highest score", "[observers]") {
  pulled problem{targets};
  auto best = keep_best<vector>([](auto const& s) { return closeness(s); });
  auto s = begin({0.2, 0.3});
  vector expected;
  double value = -std::numeric_limits<double>::infinity();
  for (std::size_t t = 1; t <= targets.size(); ++t) {
    REQUIRE(run(s, hand_off{}, problem, t, best) == status::done);
    if (closeness(s) > value) {
      value = closeness(s);
      expected = s.theta;
    }
  }
  CHECK(*best.point == expected);
  CHECK(best.value == value);
  CHECK(*best.point != s.theta);
  auto never = keep_best<vector>([](auto const&) { return std::nan(""); });
  auto t = begin({0.2, 0.3});
  REQUIRE(run(t, hand_off{}, problem, 2, never) == status::done);
  CHECK_FALSE(never.point);
}

TEST_CASE("early stop waits for so many rounds without a rise above the threshold", "[observers]") {
  quadratic problem{{0.5}};
  auto stop = early_stop{[](auto const& s) { return closeness(s); }, 3, 0.05};
  auto s = begin({1});
  CHECK(run(s, hand_off{}, problem, 100, stop) == status::stopped);
  // The best of -1.5^-t rises by more than 0.05 in rounds 1 to 5 and in round 7; three more pass.
  CHECK(s.round == 10);
}

TEST_CASE("an observer that is saved and restored stops at the same round", "[observers]") {
  auto score = [](auto const& s) { return closeness(s); };
  quadratic problem{{0.5}};
  early_stop stop{score, std::size_t{3}, 0.05};
  auto s = begin({1});
  REQUIRE(run(s, hand_off{}, problem, 8, stop) == status::done);
  archive saved;
  saved.save("stop", stop);
  early_stop resumed{score, std::size_t{3}, 0.05};
  saved.restore("stop", resumed);
  CHECK(run(s, hand_off{}, problem, 100, resumed) == status::stopped);
  CHECK(s.round == 10);
}

TEST_CASE("timing gives one number of seconds a round", "[observers]") {
  pulled problem{targets};
  timing watch;
  auto s = begin({0.2, 0.3});
  REQUIRE(run(s, hand_off{}, problem, 3, watch) == status::done);
  REQUIRE(watch.seconds.size() == 3);
  for (double const seconds : watch.seconds) CHECK(seconds >= 0);
}
