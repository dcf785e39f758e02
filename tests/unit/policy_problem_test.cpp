// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

namespace {

// Three arms in one context; features of the arms are the unit vectors, so that θ is the logits.
lab::softmax_linear tabular() { return lab::softmax_linear({{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}); }

// Arm 0 beats 1 three times out of four, 1 beats 2 two out of three, 0 beats 2 six out of seven: Bradley–Terry with rewards
// log 6, log 2, 0.
std::vector<lab::arm_pair> votes() {
  std::vector<lab::arm_pair> pairs;
  auto add = [&](std::size_t times, std::size_t chosen, std::size_t rejected) {
    for (std::size_t i = 0; i < times; ++i) pairs.push_back({0, chosen, rejected});
  };
  add(3, 0, 1), add(1, 1, 0), add(2, 1, 2), add(1, 2, 1), add(6, 0, 2), add(1, 2, 0);
  return pairs;
}

template <class Optimizer>
lab::vector trained(Optimizer const& optimizer, std::size_t steps, double tolerance = 0) {
  policy_problem problem{tabular(), dpo{.beta = 0.5}, optimizer, votes(), steps, tolerance};
  state<lab::vector, pair_log_probs> s(lab::vector{0.3, -0.2, 0.1});
  status const ended = run(s, hand_off{}, problem, 1);
  REQUIRE(ended == status::done);
  return s.theta;
}

// Pairs with what losses read beside log-probabilities, and a policy that gives them.
struct annotated_votes {
  std::vector<lab::arm_pair> pairs;
  std::vector<double> tokens_chosen, tokens_rejected, score_chosen, score_rejected;
};

struct annotated_policy {
  lab::softmax_linear inner = tabular();
  auto forward(lab::vector const& theta, annotated_votes const& batch) const { return inner.forward(theta, batch.pairs); }
};

using bare = std::vector<lab::arm_pair>;
static_assert(batch_for<bare, dpo> && !batch_for<bare, ipo> && !batch_for<bare, rebel>);
static_assert(batch_for<annotated_votes, ipo> && batch_for<annotated_votes, mixture<sft, rebel>>);
static_assert(round_problem<policy_problem<lab::softmax_linear, dpo, adam, bare>, lab::vector, pair_log_probs>);
static_assert(optimizer<sgd, lab::vector> && optimizer<heavy_ball, lab::vector> && optimizer<adam, std::vector<lab::vector>>);

}  // namespace

TEST_CASE("a policy, a loss and gradient descent descend as written by hand, bit for bit", "[policy]") {
  lab::softmax_linear const policy = tabular();
  auto const data = votes();
  lab::vector theta{0.3, -0.2, 0.1}, velocity(3, 0.0), ball = theta;
  pair_log_probs const reference = policy.forward(theta, data).logp;
  auto gradient_at = [&](lab::vector const& point) {
    auto forward = policy.forward(point, data);
    lab::vector gradient(3, 0.0);
    forward.pullback(preference_loss(dpo{.beta = 0.5}, {forward.logp, reference}).cotangent, gradient);
    return gradient;
  };
  for (int step = 0; step < 20; ++step) {
    lab::vector const gradient = gradient_at(theta), slope = gradient_at(ball);
    for (std::size_t i = 0; i < 3; ++i) {
      theta[i] = -0.7 * gradient[i] + theta[i];
      velocity[i] = slope[i] + 0.8 * velocity[i];
      ball[i] = -0.7 * velocity[i] + ball[i];
    }
  }
  CHECK(trained(sgd{.rate = 0.7}, 20) == theta);
  CHECK(trained(heavy_ball{.rate = 0.7, .momentum = 0.8}, 20) == ball);
}

TEST_CASE("every optimizer reaches the exact solution: the reference times e to the reward over beta", "[policy]") {
  lab::vector expected{0.3 + std::log(6.0) / 0.5, -0.2 + std::log(2.0) / 0.5, 0.1};
  expected = lab::centered(expected);
  CHECK(lab::max_difference(lab::centered(trained(sgd{.rate = 4}, 20000, 1e-12)), expected) < 1e-9);
  CHECK(lab::max_difference(lab::centered(trained(heavy_ball{.rate = 4}, 20000, 1e-12)), expected) < 1e-9);
  CHECK(lab::max_difference(lab::centered(trained(adam{.rate = 0.02}, 20000, 1e-12)), expected) < 1e-9);
}

TEST_CASE("a round ends where the gradient is as small as asked", "[policy]") {
  CHECK(trained(sgd{.rate = 1}, 1000, 1e3) == lab::vector{0.3, -0.2, 0.1});
  CHECK(trained(sgd{.rate = 1}, 50, 1e-300) == trained(sgd{.rate = 1}, 50));
}

TEST_CASE("what a loss reads beside log-probabilities stands in the batch", "[policy]") {
  annotated_votes const data{{{0, 0, 1}, {0, 2, 1}}, {10, 7}, {12, 9}, {0.9, 0.4}, {0.2, 0.3}};
  auto const loss = mixture{std::tuple{ipo{}, rebel{}}, {1.0, 0.5}};
  policy_problem problem{annotated_policy{}, loss, sgd{.rate = 0.1}, data, 1};
  lab::vector theta{0.3, -0.2, 0.1};
  pair_log_probs const reference = problem.score(theta, data);
  lab::softmax_linear const policy = tabular();
  auto forward = policy.forward(theta, data.pairs);
  lab::vector expected = theta, gradient(3, 0.0);
  pair_batch const batch{forward.logp,         reference,         data.tokens_chosen,
                         data.tokens_rejected, data.score_chosen, data.score_rejected};
  forward.pullback(preference_loss(loss, batch).cotangent, gradient);
  axpby(-0.1, gradient, 1, expected);
  CHECK(problem.solve(theta, data, reference, 0) == status::done);
  CHECK(theta == expected);
}

TEST_CASE("data may come from a function of the state, a chunk a round", "[policy]") {
  std::vector<std::size_t> asked;
  auto chunk = [&asked](auto const& s) {
    asked.push_back(s.round);
    return std::vector<lab::arm_pair>{{0, s.round, 2}};
  };
  policy_problem problem{tabular(), dpo{}, sgd{}, chunk, 3};
  state<lab::vector, pair_log_probs> s(lab::vector(3, 0.0));
  CHECK(run(s, hand_off{}, problem, 2) == status::done);
  CHECK(asked == std::vector<std::size_t>{0, 1});
  CHECK((s.theta[0] > 0 && s.theta[1] > 0 && s.theta[2] < 0));
}

TEST_CASE("steps that are too long diverge as a result, and settings out of range are refused", "[policy]") {
  policy_problem problem{tabular(), ipo_sum{.beta = 1e-3}, sgd{.rate = 1e200}, votes(), 50};
  state<lab::vector, pair_log_probs> s(lab::vector(3, 0.0));
  CHECK(run(s, hand_off{}, problem, 1) == status::diverged);
  double const nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(trained(sgd{.rate = -1}, 1), contains("learning_rate = -1; it must be at least 0"));
  CHECK_THROWS_WITH(trained(heavy_ball{.momentum = 1}, 1), contains("momentum = 1; it must be at least 0 and below 1"));
  CHECK_THROWS_WITH(trained(adam{.beta2 = nan}, 1), contains("adam_beta2 = nan"));
  CHECK_THROWS_WITH(trained(sgd{}, 1, nan), contains("tolerance = nan"));
}
