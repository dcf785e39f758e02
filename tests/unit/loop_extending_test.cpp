// SPDX-License-Identifier: Apache-2.0
// The examples of docs/extending.md, which quotes what stands between the marks.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <kedge/kedge.hpp>

#include "support/archive.hpp"
#include "support/catch.hpp"
#include "unit/toy_problems.hpp"

// quoted: schedule
/// Rounds start, and are anchored, at slow weights that follow the results.                     Zhang et al. 2019
struct lookahead {
  double alpha = 0.5;

  static constexpr bool keeps_anchor = false;
  static constexpr auto parameters =
      std::tuple{kedge::parameter<lookahead>{"alpha", &lookahead::alpha, 0, 1, "share of the way to the last result"}};

  template <kedge::tensor P>
  struct memory {
    std::optional<P> slow;
    static constexpr auto parts = std::tuple{kedge::part{"slow", &memory::slow}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    if (!own.slow) own.slow = kedge::deep_copy(s.theta);
    kedge::axpby(alpha, s.theta, 1 - alpha, *own.slow);
    kedge::axpby(1, *own.slow, 0, s.theta);
  }
};
// end

// quoted: momentum
/// α_t = α/t.
struct fading_momentum {
  double alpha = 0.5;
  double operator()(std::size_t round) const { return alpha / static_cast<double>(round); }
};

/// α while the last round has brought the point closer to 0, and none where it has not.
struct cautious_momentum {
  double alpha = 0.5;
  template <class State>
    requires requires(State const& s) { s.previous; }
  double operator()(State const& s) const {
    return kedge::dot(s.theta, s.theta) < kedge::dot(*s.previous, *s.previous) ? alpha : 0;
  }
};
// end

// quoted: observer
/// The norm of θ̂ after each round; stops where it exceeds a limit.
struct norm_limit {
  double limit;
  std::vector<double> norms{};

  void on_round_end(auto const& s) { norms.push_back(std::sqrt(kedge::dot(s.theta, s.theta))); }
  bool should_stop(auto const&) const { return !norms.empty() && norms.back() > limit; }
};
// end

using namespace kedge;
using namespace kedge::testing;

TEST_CASE("the page on extending quotes examples that compile", "[extending]") {
  auto text_of = [](std::string const& file) {
    std::ifstream stream(std::string(KEDGE_PROJECT_DIR) + "/" + file);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  };
  std::string const code = text_of("tests/unit/loop_extending_test.cpp"), page = text_of("docs/extending.md");
  for (std::string const name : {"schedule", "momentum", "observer"}) {
    std::size_t const begin = code.find('\n', code.find("// quoted: " + name + "\n")) + 1;
    std::string const quoted = code.substr(begin, code.find("// end\n", begin) - begin);
    INFO(name);
    CHECK(page.find("```cpp\n" + quoted + "```") != std::string::npos);
  }
}

TEST_CASE("lookahead starts each round part of the way back, and resumes from its memory", "[extending]") {
  quadratic problem{{1}};
  auto s = begin({1}, lookahead{0.5});
  REQUIRE(run(s, lookahead{0.5}, problem, 1) == status::done);
  CHECK(s.theta[0] == 0.5);
  archive file;
  file.save("state", s);
  auto resumed = begin({9}, lookahead{0.5});
  file.restore("state", resumed);
  REQUIRE(run(resumed, lookahead{0.5}, problem, 2) == status::done);
  CHECK(resumed.theta[0] == 0.75 / 2);  // slow = (1 + 1/2)/2, halved by the round
  CHECK_THROWS_WITH(run(s, lookahead{1.5}, problem, 2), "alpha = 1.5; it must be in [0, 1]");
}

TEST_CASE("momentum by the round and by the state are both rules", "[extending]") {
  quadratic problem{{1}};
  auto first = begin({1}, extrapolated_weights{fading_momentum{}});
  REQUIRE(run(first, extrapolated_weights{fading_momentum{}}, problem, 2) == status::done);
  CHECK(first.theta[0] == (0.5 + 0.5 * (0.5 - 1)) / 2);
  auto second = begin({1}, extrapolated_weights{cautious_momentum{}});
  REQUIRE(run(second, extrapolated_weights{cautious_momentum{}}, problem, 2) == status::done);
  CHECK(second.theta == first.theta);
}

TEST_CASE("an observer of one's own stops a run that grows", "[extending]") {
  pulled problem{targets};
  auto s = begin({0.2, 0.3});
  norm_limit watch{1.4};
  CHECK(run(s, hand_off{}, problem, 4, watch) == status::stopped);
  CHECK(watch.norms.size() == 2);
  CHECK(std::all_of(watch.norms.begin(), watch.norms.end() - 1, [](double norm) { return norm <= 1.4; }));
}
