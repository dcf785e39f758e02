// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::lab::arm_pair;
using kedge::lab::softmax_linear;
using kedge::testing::WithinAbs;
using kedge::testing::WithinRel;
using vector = std::vector<double>;

namespace {

// A log-linear policy on pairs that stay the same from round to round, some of them in both orders.
struct fixed_pairs {
  softmax_linear policy{random_features()};
  std::vector<arm_pair> pairs = random_pairs(60, 3);
  vector start = normal(6, 11);

  static vector normal(std::size_t n, unsigned seed) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<double> draw;
    vector x(n);
    for (double& value : x) value = draw(generator);
    return x;
  }
  static std::vector<std::vector<vector>> random_features() {
    std::vector<std::vector<vector>> features(4);
    for (unsigned i = 0; i < 20; ++i) features[i % 4].push_back(normal(6, 100 + i));
    return features;
  }
  static std::vector<arm_pair> random_pairs(std::size_t n, unsigned seed) {
    std::mt19937_64 generator(seed);
    std::vector<arm_pair> pairs;
    while (pairs.size() < n) {
      arm_pair const pair{generator() % 4, generator() % 5, generator() % 5};
      if (pair.chosen != pair.rejected) pairs.push_back(pair);
    }
    return pairs;
  }

  // θ̂_T from the start; β, optimizer and pairs of a round come from settings(t), t = 0 … T − 1.
  template <class Schedule, class Settings>
  vector end(Schedule const& schedule, std::size_t rounds, std::size_t steps, Settings const& settings) const {
    auto s = state_for<pair_log_probs>(start, schedule);
    for (std::size_t t = 0; t < rounds; ++t) {
      auto const [loss, optimizer, data] = settings(t);
      policy_problem problem{policy, loss, optimizer, data, steps};
      REQUIRE(run(s, schedule, problem, t + 1) == status::done);
    }
    return s.theta;
  }
  template <class Schedule, class Loss, class Optimizer>
  vector end(Schedule const& schedule, std::size_t rounds, std::size_t steps, Loss loss, Optimizer optimizer) const {
    return end(schedule, rounds, steps, [&](std::size_t) { return std::tuple{loss, optimizer, pairs}; });
  }
  // The largest difference of two results, over the largest distance from the start.
  [[nodiscard]] double apart(vector const& x, vector const& y) const {
    return lab::max_difference(x, y) / lab::max_difference(x, start);
  }
};

template <class Rule, class Optimizer>
double apo_against_null(fixed_pairs const& at, Rule const& rule, Optimizer const& optimizer, std::size_t steps,
                        null_kind kind = null_kind::both, std::size_t rounds = 6) {
  auto const null = effective_baseline(rule, rounds, optimizer, kind);
  return at.apart(at.end(extrapolated_weights{rule}, rounds, steps, dpo{0.7}, optimizer),
                  at.end(hand_off{}, rounds, steps, dpo{0.7 * null.factors.beta}, null.optimizer));
}

}  // namespace

TEST_CASE("APO equals plain rounds with the effective beta and rate for every number of inner steps", "[baseline]") {
  fixed_pairs const at;
  for (double const alpha : {0.3, 0.5, 0.9})
    for (std::size_t const steps : {1U, 2U, 4U, 16U, 64U, 256U}) {
      INFO("alpha " << alpha << ", " << steps << " steps");
      CHECK(apo_against_null(at, constant_momentum{alpha}, sgd{0.9}, steps) < 1e-12);
      CHECK(apo_against_null(at, constant_momentum{alpha}, adam{.rate = 0.03}, steps) < 1e-12);
      CHECK(apo_against_null(at, constant_momentum{alpha}, heavy_ball{.rate = 0.2, .momentum = 0.8}, steps) < 1e-12);
    }
  CHECK(apo_against_null(at, nesterov_momentum{3}, sgd{0.9}, 16) < 1e-12);
  CHECK(apo_against_null(at, listed_momentum{{0.9, 0.1, 0.5}}, adam{.rate = 0.03}, 16) < 1e-12);
}

TEST_CASE("with extrapolated log-probabilities APO has the same null baseline", "[baseline]") {
  fixed_pairs const at;
  auto const null = effective_baseline(constant_momentum{0.5}, 6, adam{.rate = 0.03});
  vector const apo = at.end(extrapolated_log_probs{constant_momentum{0.5}}, 6, 16, dpo{0.7}, adam{.rate = 0.03});
  CHECK(at.apart(apo, at.end(hand_off{}, 6, 16, dpo{0.7 * null.factors.beta}, null.optimizer)) < 1e-12);
}

TEST_CASE("rounds with a beta, rate, momentum and pairs of their own have a null baseline of their own", "[baseline]") {
  fixed_pairs const at;
  listed_momentum const rule{{0.3, 0.9, 0.5, 0.1, 0.6}};
  vector const betas{0.7, 0.2, 1.5, 0.4, 0.9, 0.3}, rates{0.02, 0.05, 0.01, 0.04, 0.03, 0.02};
  auto compare = [&](auto const& optimizer_at, std::size_t steps) {
    auto settings = [&](std::size_t t) {
      return std::tuple{dpo{betas[t]}, optimizer_at(rates[t]), fixed_pairs::random_pairs(40, static_cast<unsigned>(t))};
    };
    auto nulls = [&](std::size_t t) {
      auto const null = effective_baselines(rule, 6, optimizer_at(rates[t]))[t];
      return std::tuple{dpo{betas[t] * null.factors.beta}, null.optimizer, fixed_pairs::random_pairs(40, static_cast<unsigned>(t))};
    };
    return at.apart(at.end(extrapolated_weights{rule}, 6, steps, settings), at.end(hand_off{}, 6, steps, nulls));
  };
  for (std::size_t const steps : {1U, 16U, 256U}) {
    CHECK(compare([](double rate) { return sgd{20 * rate}; }, steps) < 1e-12);
    CHECK(compare([](double rate) { return adam{.rate = rate}; }, steps) < 1e-12);
  }
}

TEST_CASE("the rate of the null baseline of IPO is unchanged for gradient descent and longer for Adam", "[baseline]") {
  fixed_pairs const at;
  constant_momentum const rule{0.5};
  auto compare = [&](auto const& optimizer, std::size_t steps) {
    auto const null = effective_baseline(rule, 6, optimizer, null_kind::both, 2);
    return at.apart(at.end(extrapolated_weights{rule}, 6, steps, ipo_sum{0.7}, optimizer),
                    at.end(hand_off{}, 6, steps, ipo_sum{0.7 * null.factors.beta}, null.optimizer));
  };
  for (std::size_t const steps : {1U, 16U, 256U}) {
    CHECK(compare(sgd{0.05}, steps) < 1e-12);
    CHECK(compare(adam{.rate = 0.03}, steps) < 1e-12);
  }
  CHECK(effective_baseline(rule, 6, sgd{0.05}, null_kind::both, 2).optimizer.rate == 0.05);
}

TEST_CASE("beta alone is exact where rounds are solved and rate alone where they are hardly begun", "[baseline]") {
  fixed_pairs const at;
  constant_momentum const rule{0.5};
  CHECK(apo_against_null(at, rule, sgd{2}, 20000, null_kind::beta) < 1e-9);
  CHECK(apo_against_null(at, rule, sgd{2}, 20000, null_kind::rate) > 0.3);
  CHECK(apo_against_null(at, rule, sgd{1e-6}, 4, null_kind::rate) < 1e-5);
  CHECK(apo_against_null(at, rule, sgd{1e-6}, 4, null_kind::beta) > 0.3);
  for (null_kind const kind : {null_kind::beta, null_kind::rate}) CHECK(apo_against_null(at, rule, sgd{0.9}, 16, kind) > 0.05);
}

TEST_CASE("the factors are those of theorem 7 prime", "[baseline]") {
  auto const descent = effective_baseline(constant_momentum{0.5}, 8, sgd{0.1});
  CHECK_THAT(descent.ratio, WithinRel(1 / effective_beta(1, constant_momentum{0.5}, 8), 1e-15));
  CHECK_THAT(descent.ratio, WithinAbs(1.7509765625, 1e-15));
  CHECK_THAT(descent.optimizer.rate, WithinRel(0.1 * 1.7509765625 * 1.7509765625, 1e-15));
  auto const moments = effective_baseline(constant_momentum{0.5}, 8, adam{.rate = 1e-4, .epsilon = 1e-8});
  CHECK_THAT(moments.factors.beta * 0.3, WithinAbs(0.1713, 5e-5));
  CHECK_THAT(moments.optimizer.rate, WithinAbs(1.751e-4, 5e-8));
  CHECK_THAT(moments.optimizer.epsilon, WithinRel(1e-8 / 1.7509765625, 1e-15));
  auto const none = effective_baseline(no_momentum{}, 8, sgd{0.1});
  CHECK((none.ratio == 1 && none.factors.beta == 1 && none.optimizer.rate == 0.1));
  CHECK_THROWS_WITH(longer_rounds(0, 1), "longer_rounds: ratio = 0; it must be positive");
  CHECK_THROWS_AS(effective_baseline(no_momentum{}, 0, sgd{}), std::invalid_argument);
}

TEST_CASE("the weights of rounds sum to the accumulated steps", "[baseline]") {
  vector const by_hand = round_weights(listed_momentum{{0.5, 0.2}}, 3);
  CHECK(lab::max_difference(by_hand, vector{1 + 0.5 * 1.2, 1.2, 1}) < 1e-15);
  for (double const alpha : {0.0, 0.3, 0.9}) {
    double sum = 0;
    for (double const weight : round_weights(constant_momentum{alpha}, 50)) sum += weight;
    CHECK_THAT(sum, WithinRel(accumulated_steps(constant_momentum{alpha}, 50), 1e-14));
  }
}

namespace {

// Steps of an optimizer on gradients that are clipped to a norm first, and a weight decay of the kind of AdamW.
template <class Inner>
struct guarded {
  Inner inner;
  double norm, decay = 0;
  static constexpr double gradient_degree = Inner::gradient_degree;

  [[nodiscard]] auto init(vector const& theta) const { return inner.init(theta); }
  template <class State>
  void step(State& s, vector& theta, vector const& gradient) const {
    double const length = std::sqrt(dot(gradient, gradient));
    vector clipped = gradient;
    axpby(std::min(1.0, norm / length), gradient, 0, clipped);
    axpby(0, theta, 1 - inner.rate * decay, theta);
    inner.step(s, theta, clipped);
  }
  static constexpr std::tuple<> parameters{};
};

template <class Inner>
double guarded_against_null(guarded<Inner> const& optimizer, bool scaled_norm, bool scaled_epsilon = true) {
  fixed_pairs const at;
  constant_momentum const rule{0.5};
  auto null = effective_baseline(rule, 6, optimizer.inner);
  if constexpr (requires { null.optimizer.epsilon; })
    if (!scaled_epsilon) null.optimizer.epsilon = optimizer.inner.epsilon;
  guarded<Inner> const other{null.optimizer, optimizer.norm * (scaled_norm ? null.factors.gradient : 1), optimizer.decay};
  return at.apart(at.end(extrapolated_weights{rule}, 6, 16, dpo{0.7}, optimizer),
                  at.end(hand_off{}, 6, 16, dpo{0.7 * null.factors.beta}, other));
}

}  // namespace

TEST_CASE("clipping is exact at the scaled norm and breaks the null baseline at the same norm", "[baseline]") {
  double const never = 1e9, often = 0.1;
  CHECK(guarded_against_null(guarded<sgd>{{0.9}, never}, false) < 1e-12);
  CHECK(guarded_against_null(guarded<sgd>{{0.9}, often}, true) < 1e-12);
  CHECK(guarded_against_null(guarded<sgd>{{0.9}, often}, false) > 0.005);
  CHECK(guarded_against_null(guarded<adam>{{.rate = 0.03}, often}, true) < 1e-12);
  CHECK(guarded_against_null(guarded<adam>{{.rate = 0.03}, often}, false) > 0.01);
}

TEST_CASE("an epsilon that is not scaled moves Adam's null baseline as much as it is of the gradients", "[baseline]") {
  auto apart = [](double epsilon) {
    return guarded_against_null(guarded<adam>{{.rate = 0.03, .epsilon = epsilon}, 1e9}, false, false);
  };
  CHECK(apart(1e-8) < 1e-5);
  CHECK(apart(1e-2) > 1e-2);
}

TEST_CASE("weight decay towards 0 breaks the null baseline", "[baseline]") {
  CHECK(guarded_against_null(guarded<sgd>{{0.9}, 1e9, 0.01}, true) > 1e-3);
}
