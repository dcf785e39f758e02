// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"

using namespace kedge;
using namespace kedge::lab;
using kedge::lab::vector;
using kedge::testing::contains;
using kedge::testing::WithinAbs;
using kedge::testing::WithinRel;

namespace {

using constant = extrapolated_weights<constant_momentum>;

// Σ over rounds of measure(θ̂_t), t = 1 … rounds.
template <class Schedule, class Problem, class Measure>
vector series(Schedule const& schedule, Problem& problem, vector start, std::size_t rounds, Measure const& measure) {
  auto s = state_for<vector>(std::move(start), schedule, problem);
  vector values;
  for (std::size_t t = 1; t <= rounds; ++t) {
    REQUIRE(run(s, schedule, problem, t) == status::done);
    values.push_back(measure(s.theta));
  }
  return values;
}

template <class Schedule>
vector two_arm_gaps(Schedule const& schedule) {
  two_arm_contexts const contexts(2000, 1e-6);
  exact_bandit<vector> problem(contexts.reward(), 1);
  return series(schedule, problem, vector(4000, 0.0), 1000, [&](vector const& logits) { return contexts.gap(logits); });
}

double worst_duality_gap(vector const& gaps, std::size_t from, std::size_t to) {
  double worst = 0;
  for (std::size_t t = from; t <= to; ++t) worst = std::max(worst, gaps[t - 1]);
  return worst;
}

template <class Schedule>
vector duality_gaps(Schedule const& schedule, mirror_step step) {
  preference_game const game = rock_paper_scissors();
  vector const start{0.3, 0, -0.2};
  mirror_problem<vector, preference_game> problem(game, start, step);
  return series(schedule, problem, start, 2000, [&](vector const& logits) { return game.duality_gap(softmax(logits)); });
}

}  // namespace

TEST_CASE("E2: the mean gap over two-arm contexts falls with slope -1, to the digits", "[lab]") {
  vector const gaps = two_arm_gaps(constant{{0}});
  CHECK_THAT(gaps[9], WithinAbs(5.0168017951e-03, 5e-14));
  CHECK_THAT(gaps[99], WithinAbs(5.0168046914e-04, 5e-15));
  CHECK_THAT(gaps[999], WithinAbs(5.0135483785e-05, 5e-16));
  CHECK_THAT(fit_power(gaps, 10, 1000).slope, WithinAbs(-1.00012, 5e-6));
  two_arm_contexts const contexts(2000, 1e-6);
  CHECK_THAT(gaps[999], WithinRel(contexts.exact_gap(1000), 1e-12));
}

TEST_CASE("E2: after 1000 rounds momentum has gained 1.42840, 2.49895 and 9.97398", "[lab]") {
  double const plain = two_arm_gaps(constant{{0}})[999];
  CHECK_THAT(plain / two_arm_gaps(constant{{0.3}})[999], WithinAbs(1.42840, 5e-6));
  CHECK_THAT(plain / two_arm_gaps(constant{{0.6}})[999], WithinAbs(2.49895, 5e-6));
  CHECK_THAT(plain / two_arm_gaps(constant{{0.9}})[999], WithinAbs(9.97398, 5e-6));
}

TEST_CASE("E2: Nesterov's schedule falls with slope -2", "[lab]") {
  vector const gaps = two_arm_gaps(extrapolated_weights<nesterov_momentum>{{3}});
  CHECK_THAT(gaps[9], WithinAbs(2.361e-3, 5e-7));
  CHECK_THAT(gaps[99], WithinAbs(3.748e-5, 5e-9));
  CHECK_THAT(gaps[999], WithinAbs(3.635e-7, 5e-11));
}

TEST_CASE("E1: the worst case is W_0 beta / C_t, for every round and momentum", "[lab]") {
  CHECK_THAT(sharp_gap_bound(1.0 / 3, 1), WithinAbs(0.4630555134, 5e-11));
  CHECK_THAT(sharp_gap_bound(0.1, 1), WithinAbs(1.1010029973, 5e-11));
  CHECK_THAT(sharp_gap_bound(0.01, 1), WithinAbs(2.6286495970, 5e-11));
  CHECK_THAT(sharp_gap_bound(0.001, 1), WithinAbs(4.42050160, 5e-9));
  for (double const alpha : {0.0, 0.3, 0.9})
    for (std::size_t const rounds : {std::size_t{1}, std::size_t{7}, std::size_t{60}}) {
      double const gamma = constant_steps(alpha, rounds) / 0.5;
      vector const reward = two_level_reward(10, worst_gap(0.1, gamma));
      exact_bandit<vector> problem(reward, 0.5);
      constant const schedule{{alpha}};
      auto s = state_for<vector>(vector(10, 0.0), schedule);
      REQUIRE(run(s, schedule, problem, rounds) == status::done);
      CHECK_THAT(reward_gap(s.theta, reward) * gamma, WithinAbs(1.1010029973, 5e-11));
    }
}

TEST_CASE("the paper's constant fails where the reference already likes the best arm", "[lab]") {
  CHECK_THAT(1 / (1 + std::exp(1 / std::exp(1.0))), WithinAbs(paper_bound_holds_to, 1e-15));
  CHECK(paper_gap_bound(0.40, 1) > sharp_gap_bound(0.40, 1));
  CHECK(paper_gap_bound(0.42, 1) < sharp_gap_bound(0.42, 1));
  CHECK(paper_gap_bound(0.5, 1) == 0);
  CHECK_THAT(paper_gap_bound(paper_bound_holds_to, 1), WithinAbs(sharp_gap_bound(paper_bound_holds_to, 1), 1e-9));
}

TEST_CASE("E3: evenly spaced rewards have the closed-form gap", "[lab]") {
  CHECK_THAT(spaced_exact_gap(513, 10), WithinRel(0.09898200563572217, 1e-12));
  vector const reward = spaced_reward(513);
  exact_bandit<vector> problem(reward, 1);
  state<vector, vector> s(vector(513, 0.0));
  REQUIRE(run(s, hand_off{}, problem, 10) == status::done);
  CHECK_THAT(reward_gap(s.theta, reward), WithinRel(0.09898200563572217, 1e-11));
}

TEST_CASE("E5: under a minimal gap the distance from the optimum falls by Delta / (beta (1 - alpha)) a round", "[lab]") {
  for (auto const& [alpha, slope] : {std::pair{0.0, -0.2}, {0.3, -0.285714}, {0.6, -0.5}}) {
    vector const reward = minimal_gap_reward(10, 0.2);
    exact_bandit<vector> problem(reward, 1);
    vector const misses = series(constant{{alpha}}, problem, vector(10, 0.0), 150,
                                 [&](vector const& logits) { return miss_probability(logits, reward); });
    CHECK_THAT(fit_exponential(misses, 100, 150).slope, WithinAbs(slope, 1e-5));
  }
}

TEST_CASE("E4: random bandits fall with slope about -2, not -1", "[lab]") {
  std::mt19937_64 generator(7);
  vector mean(60, 0.0);
  for (int context = 0; context < 64; ++context) {
    vector const reward = random_reward(10, generator);
    exact_bandit<vector> problem(reward, 1);
    vector const gaps =
        series(hand_off{}, problem, vector(10, 0.0), 60, [&](vector const& logits) { return reward_gap(logits, reward); });
    axpby(1.0 / 64, gaps, 1, mean);
  }
  CHECK(fit_power(mean, 10, 60).slope < -1.6);
  CHECK(fit_power(mean, 10, 60).slope > -2.4);
}

TEST_CASE("a dominant arm wins exponentially, faster with momentum", "[lab][games]") {
  preference_game const game = dominant_arm_game();
  auto missed = [](vector const& logits) { return 1 - softmax(logits)[0]; };
  for (auto const& [alpha, after_60, slope] : {std::tuple{0.0, 7.6e-2, -0.06}, {0.3, 1.8e-2, -0.0857}, {0.6, 4.6e-4, -0.15}}) {
    mirror_problem<vector, preference_game> problem(game, vector(4, 0.0), {.eta = 0.2});
    vector const misses = series(constant{{alpha}}, problem, vector(4, 0.0), 200, missed);
    INFO("alpha " << alpha);
    CHECK_THAT(misses[59], WithinRel(after_60, 0.02));
    CHECK_THAT(fit_exponential(misses, 150, 200).slope, WithinAbs(slope, 1e-3));
  }
}

TEST_CASE("rock-paper-scissors: momentum diverges, optimism converges", "[lab][games]") {
  auto late = [](vector const& gaps) { return worst_duality_gap(gaps, 1801, 2000); };
  mirror_step const plain{.eta = 0.2};
  CHECK_THAT(late(duality_gaps(constant{{0}}, plain)), WithinAbs(0.570, 5e-4));
  CHECK_THAT(late(duality_gaps(constant{{0.3}}, plain)), WithinAbs(0.772, 5e-4));
  CHECK_THAT(late(duality_gaps(constant{{0.6}}, plain)), WithinAbs(0.800, 5e-4));
  vector const optimistic = duality_gaps(hand_off{}, {.eta = 0.2, .optimism = 1});
  CHECK_THAT(late(optimistic), WithinAbs(0.0193, 5e-5));
  CHECK(optimistic[1999] < optimistic[999]);
  vector const extragradient = duality_gaps(hand_off{}, {.eta = 0.2, .magnet = 0.05, .extragradient = true});
  CHECK_THAT(late(extragradient), WithinAbs(2.59e-2, 5e-5));
}

TEST_CASE("the first 200 rounds of rock-paper-scissors have the gaps of the note", "[lab][games]") {
  auto early = [](vector const& gaps) { return worst_duality_gap(gaps, 1, 200); };
  CHECK_THAT(early(duality_gaps(constant{{0}}, {.eta = 0.2})), WithinAbs(.163, 5e-4));
  CHECK_THAT(early(duality_gaps(constant{{0.3}}, {.eta = 0.2})), WithinAbs(.208, 1e-3));
  CHECK_THAT(early(duality_gaps(constant{{0.6}}, {.eta = 0.2})), WithinAbs(.698, 5e-4));
  CHECK_THAT(early(duality_gaps(hand_off{}, {.eta = 0.2, .optimism = 1})), WithinAbs(.132, 5e-4));
}

TEST_CASE("samplers: uniform pairs converge linearly, mixed ones quadratically", "[lab]") {
  auto errors = [](pair_sampler sampler) {
    sampled_dpo algorithm({0, 1.0 / 3, 1}, 0.1, sampler);
    vector found{algorithm.error()};
    for (int t = 0; t < 4; ++t) {
      algorithm.step();
      found.push_back(algorithm.error());
    }
    return found;
  };
  vector const uniform = errors(pair_sampler::uniform), reward = errors(pair_sampler::mix_reward);
  vector const policy = errors(pair_sampler::mix_policy);
  CHECK(policy[0] == 1);
  CHECK_THAT(policy[1], WithinRel(5.9408e-2, 1e-5));
  CHECK_THAT(policy[2], WithinRel(6.1267e-4, 1e-5));
  CHECK_THAT(policy[3], WithinRel(6.8083e-8, 1e-4));
  CHECK(policy[4] < 2e-15);
  CHECK_THAT(uniform[2], WithinRel(9.50e-3, 1e-3));
  CHECK_THAT(uniform[4] / uniform[3], WithinAbs(0.168, 1e-3));
  CHECK_THAT(reward[1], WithinRel(.1357, 1e-3));
  CHECK_THAT(reward[3], WithinRel(2.08e-6, 1e-2));
}

TEST_CASE("two tokens: extrapolated weights are not the extrapolated sequence", "[lab]") {
  auto const before = two_token_policy::from_probabilities(.5, .5, .5), now = two_token_policy::from_probabilities(.6, .9, .5);
  CHECK_THAT(std::exp(extrapolate_sequences(now, before, 1)[0]), WithinAbs(.7771855011, 5e-11));
  CHECK_THAT(std::exp(extrapolate_tokens(now, before, 1).log_probs()[0]), WithinAbs(.6838649156, 5e-11));
  vector const logits = now.log_probs();
  CHECK_THAT(log_sum_exp(logits), WithinAbs(0, 1e-15));
}

TEST_CASE("the population DPO loss on an effective reference reproduces C_t by Newton fits", "[lab]") {
  vector const reward{0.3, -0.8, 1, 0.1};
  double const beta = 0.5;
  auto const wins = bradley_terry(reward);
  for (double const alpha : {0.0, 0.3, 0.6}) {
    auto collect = [&](vector const& logits, std::size_t) { return population_comparisons(softmax(logits), wins); };
    auto iterate = [&](auto const& schedule) {
      fitted_bandit problem(dpo{beta}, collect);
      auto s = state_for<vector>(vector(4, 0.0), schedule);
      for (std::size_t t = 1; t <= 12; ++t) {
        REQUIRE(run(s, schedule, problem, t) == status::done);
        vector expected = reward;
        axpby(constant_steps(alpha, t) / beta, vector(reward), 0, expected);
        INFO("alpha " << alpha << ", round " << t);
        CHECK(max_difference(centered(s.theta), centered(expected)) < 1e-9);
      }
    };
    iterate(constant{{alpha}});
    iterate(extrapolated_log_probs<constant_momentum>{{alpha}});
  }
}

TEST_CASE("exact fits of IPO, SPPO-like and online losses are mirror steps", "[lab]") {
  preference_game const game = dominant_arm_game();
  vector const start{0.2, -0.1, 0.4, 0};
  vector const policy = softmax(start);
  comparison_counts const counts = population_comparisons(policy, game);
  auto minimiser = [&](auto const& loss) {
    vector theta = start;
    REQUIRE(fit_logits(loss, counts, start, 0, theta) == status::done);
    axpby(-1, start, 1, theta);
    return centered(theta);
  };
  auto mirror = [&](double scale) {
    vector step = game.win_rates(policy);
    axpby(scale, vector(step), 0, step);
    return centered(step);
  };
  // Without the pairs of an arm with itself the weights are still π π′ P, whose minimiser is exact for squared losses.
  CHECK(max_difference(minimiser(ipo_sum{.beta = 2}), mirror(1 / 2.0)) < 1e-9);
  CHECK(max_difference(minimiser(onpo{.eta = 0.7}), mirror(0.7)) < 1e-9);
}

TEST_CASE("APO and iterative DPO at its effective beta end in the same policy", "[lab]") {
  vector const reward{0.3, -0.8, 1, 0.1}, start{0.5, 0, 0, 0.2};
  for (double const alpha : {0.3, 0.6, 0.9})
    for (std::size_t const rounds : {std::size_t{3}, std::size_t{10}}) {
      exact_bandit<vector> accelerated(reward, 0.4), null(reward, effective_beta(0.4, constant_momentum{alpha}, rounds));
      state<vector, vector, constant> a(start);
      state<vector, vector> b(start);
      REQUIRE(run(a, constant{{alpha}}, accelerated, rounds) == status::done);
      REQUIRE(run(b, hand_off{}, null, rounds) == status::done);
      CHECK(max_difference(a.theta, b.theta) < 1e-11);
    }
}

TEST_CASE("a softmax-linear policy's pullback is its derivative", "[lab]") {
  std::mt19937_64 generator(5);
  std::normal_distribution<double> normal;
  std::vector<std::vector<vector>> features(3, std::vector<vector>(4, vector(5)));
  for (auto& arms : features)
    for (vector& phi : arms)
      for (double& value : phi) value = normal(generator);
  softmax_linear const model(features);
  static_assert(policy<softmax_linear, vector, std::vector<arm_pair>>);
  std::vector<arm_pair> const pairs{{0, 1, 2}, {2, 3, 0}, {0, 0, 3}};
  vector theta{0.1, -0.2, 0.3, 0, 0.5}, gradient(5, 0.0);
  pair_log_probs const cotangent{{0.3, -1, 0.7}, {-0.3, 2, 0.1}};
  auto value = [&] {
    auto const logp = model.forward(theta, pairs).logp;
    return dot(logp, cotangent);
  };
  model.forward(theta, pairs).pullback(cotangent, gradient);
  for (std::size_t k = 0; k < 5; ++k) {
    double const kept = theta[k];
    theta[k] = kept + 1e-6;
    double const up = value();
    theta[k] = kept - 1e-6;
    double const down = value();
    theta[k] = kept;
    CHECK_THAT(gradient[k], WithinAbs((up - down) / 2e-6, 1e-8));
  }
}

TEST_CASE("for one decision, extrapolated weights are the extrapolated policy", "[lab]") {
  softmax_linear const model({{{1, 2}, {0, -1}, {3, 0.5}}});
  vector const before{0.1, 0.2}, now{0.4, -0.3};
  vector ahead = before;
  extrapolate_over(now, 0.3, ahead);
  vector logp = log_softmax(model.logits(now, 0));
  axpby(-0.3, log_softmax(model.logits(before, 0)), 1.3, logp);
  CHECK(max_difference(log_softmax(logp), log_softmax(model.logits(ahead, 0))) < 1e-14);
}

TEST_CASE("two KL terms are one to the geometric mean plus a tax on disagreement", "[lab]") {
  std::vector<vector> const models{{0.3, -1, 0.7, 0}, {-0.5, 0.2, 0.1, 1}};
  vector const weights{0.3, 0.7}, policy{0.1, 0.1, -0.3, 0.9};
  vector soup(4, 0.0);
  for (std::size_t i = 0; i < 2; ++i) axpby(weights[i], models[i], 1, soup);
  double const two = weights[0] * kl(policy, models[0]) + weights[1] * kl(policy, models[1]);
  CHECK_THAT(two, WithinAbs(kl(policy, soup) + disagreement_tax(models, weights), 1e-15));
  CHECK(disagreement_tax(models, weights) > 0);
  CHECK_THAT(disagreement_tax({models[0], models[0]}, weights), WithinAbs(0, 1e-15));
}

TEST_CASE("mirror ascent around an anchor ends at the anchor plus r / beta", "[lab]") {
  vector const reward{1, 0, -0.5}, anchor{0.2, 0.1, -0.4};
  anchored_reward problem(reward, 0.5, 1, 80);
  state<vector, vector, fixed_anchor> s(vector{2, -1, 0});
  s.anchor.push_back({1.0, anchor});
  REQUIRE(run(s, fixed_anchor{}, problem, 1) == status::done);
  CHECK(max_difference(softmax(s.theta), softmax(anchored_optimum(anchor, reward, 0.5))) < 1e-12);
}

TEST_CASE("the reachable reward lies on the exact frontier", "[lab]") {
  vector const reward{1, 0, -0.5}, anchor{0.2, 0.1, -0.4};
  vector const best = anchored_optimum(anchor, reward, 0.5);
  CHECK_THAT(reachable_reward(anchor, reward, kl(best, anchor)), WithinAbs(expected(softmax(best), reward), 1e-12));
  CHECK_THAT(reachable_reward(anchor, reward, 0), WithinAbs(expected(softmax(anchor), reward), 1e-12));
}

TEST_CASE("KL and derivative of the reward along the tilt are what theory says", "[lab]") {
  vector const reward{1, 0.2, -0.5}, start{0.2, 0.1, -0.4};
  auto tilted = [&](double gamma) { return anchored_optimum(start, reward, 1 / gamma); };
  double const gamma = 1.7, step = 1e-5;
  vector const p = softmax(tilted(gamma));
  double const mean = expected(p, reward);
  double variance = 0;
  for (std::size_t i = 0; i < 3; ++i) variance += p[i] * (reward[i] - mean) * (reward[i] - mean);
  double const slope =
      (expected(softmax(tilted(gamma + step)), reward) - expected(softmax(tilted(gamma - step)), reward)) / (2 * step);
  CHECK_THAT(slope, WithinAbs(variance, 1e-9));
  double const partition = log_sum_exp(tilted(gamma)) - log_sum_exp(start);
  CHECK_THAT(kl(tilted(gamma), start), WithinAbs(gamma * mean - partition, 1e-14));
}

TEST_CASE("a line through exact points has its slope and no error", "[lab]") {
  line_fit const fit = fit_line(vector{1, 2, 4}, vector{3, 5, 9});
  CHECK_THAT(fit.slope, WithinAbs(2, 1e-15));
  CHECK_THAT(fit.intercept, WithinAbs(1, 1e-15));
  CHECK_THAT(fit.stderr_slope, WithinAbs(0, 1e-15));
  CHECK_THAT(fit_line(vector{0, 1, 2}, vector{0, 1, 0}).stderr_slope, WithinAbs(std::sqrt(2.0 / 3 / 2), 1e-15));
  CHECK_THROWS_AS(fit_line(vector{1, 1}, vector{1, 2}), std::invalid_argument);
}

TEST_CASE("settings of the lab that cannot work are refused", "[lab]") {
  CHECK_THROWS_WITH(exact_bandit<vector>({1}, 0), contains("beta = 0"));
  CHECK_THROWS_WITH(two_arm_contexts(0, 0.1), contains("no contexts"));
  CHECK_THROWS_WITH(two_arm_contexts(5, 2), contains("gap_min = 2"));
  CHECK_THROWS_WITH(preference_game({{0.5, 0.8}, {0.3, 0.5}}), contains("don't sum to one"));
  CHECK_THROWS_WITH((mirror_problem<vector, preference_game>(rock_paper_scissors(), vector(3), {.eta = 0})),
                    contains("eta = 0"));
  CHECK_THROWS_WITH(sampled_dpo({1}, -1, pair_sampler::uniform), contains("beta = -1"));
}
