// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <kedge/ppo.hpp>

#include "support/catch.hpp"

using namespace kedge;
using kedge::testing::contains;
using kedge::testing::WithinAbs;

TEST_CASE("generalized advantages and returns are the golden ones", "[ppo]") {
  std::vector<double> const rewards{-.01, .02, -.005, 1}, values{.1, .2, .15, .3};
  auto [advantage, returns] = generalized_advantages(rewards, values);
  double const expected_advantage[] = {.792525, .7395, .81, .7}, expected_return[] = {.892525, .9395, .96, 1};
  for (std::size_t t = 0; t < 4; ++t) {
    CHECK_THAT(advantage[t], WithinAbs(expected_advantage[t], 1e-14));
    CHECK_THAT(returns[t], WithinAbs(expected_return[t], 1e-14));
  }
  whiten(advantage);
  double const expected_white[] = {.637107353758, -.417981225059, .984823957526, -1.20395008622};
  for (std::size_t t = 0; t < 4; ++t) CHECK_THAT(advantage[t], WithinAbs(expected_white[t], 5e-12));
}

TEST_CASE("with lambda 1 the return is the sum of rewards to come, whatever the values", "[ppo]") {
  std::vector<double> const rewards{1, 2, 4}, values{7, -3, 0.5};
  auto const returns = generalized_advantages(rewards, values, 1, 1).returns;
  CHECK(returns == std::vector<double>{7, 6, 4});
}

TEST_CASE("whitening keeps the mean where asked to", "[ppo]") {
  std::vector<double> values{1, 2, 3};
  whiten(values, true);
  CHECK_THAT(values[1], WithinAbs(2, 1e-15));
  CHECK_THAT(values[2] - values[0], WithinAbs(2, 1e-7));
  std::vector<double> one{1};
  CHECK_THROWS_AS(whiten(one), std::invalid_argument);
}

TEST_CASE("the KL estimators have the golden values", "[ppo]") {
  double const anchors[][4] = {{-.2, -.2, .02, .02140275816}, {.2, .2, .02, .01873075308}, {.4, .4, .08, .07032004604}};
  for (auto const& [d, first, second, third] : anchors) {
    CHECK(kl_k1(d).value == first);
    CHECK_THAT(kl_k2(d).value, WithinAbs(second, 1e-15));
    CHECK_THAT(kl_k3(d).value, WithinAbs(third, 5e-12));
    double const step = 1e-6;
    CHECK_THAT(kl_k2(d).slope, WithinAbs((kl_k2(d + step).value - kl_k2(d - step).value) / (2 * step), 1e-9));
    CHECK_THAT(kl_k3(d).slope, WithinAbs((kl_k3(d + step).value - kl_k3(d - step).value) / (2 * step), 1e-9));
  }
}

TEST_CASE("k3 is never negative and keeps its digits near 0", "[ppo]") {
  CHECK(kl_k3(1e-9).value >= 0);
  CHECK_THAT(kl_k3(1e-5).value * 1e10, WithinAbs(0.5, 1e-5));
}

TEST_CASE("the adaptive KL coefficient follows the golden sequence", "[ppo]") {
  adaptive_kl controller;
  double const steps[][2] = {{3, .198976}, {9, .19999475712}, {6, .19999475712}, {20, .201018730276}};
  for (auto const& [kl, beta] : steps) {
    controller.update(kl, 256);
    CHECK_THAT(controller.beta, WithinAbs(beta, 5e-13));
  }
}

TEST_CASE("the clipped surrogate stops where the ratio has moved far enough in the advantage's direction", "[ppo]") {
  auto const inside = clipped_surrogate(-1, -1.1, 2);
  CHECK_THAT(inside.value, WithinAbs(-2 * std::exp(0.1), 1e-15));
  CHECK(inside.slope == inside.value);
  auto const above = clipped_surrogate(-1, -2, 2);  // ratio e, advantage positive: clipped at 1.2
  CHECK(above.value == -2.4);
  CHECK(above.slope == 0);
  CHECK(above.clipped);
  auto const wrong_way = clipped_surrogate(-1, -2, -2);  // a bad action made likelier: not clipped
  CHECK_THAT(wrong_way.value, WithinAbs(2 * std::exp(1.0), 1e-14));
  CHECK_FALSE(wrong_way.clipped);
}

TEST_CASE("the clipped value loss takes the larger error", "[ppo]") {
  CHECK_THAT(clipped_value_loss(1, 0.9, 0).value, WithinAbs(0.5, 1e-15));
  auto const far = clipped_value_loss(2, 1, 1.9);  // clipped to 1.2: error .7 is larger than .1
  CHECK_THAT(far.value, WithinAbs(0.5 * 0.49, 1e-15));
  CHECK(far.slope == 0);
  CHECK(clipped_value_loss(2, 1, 0).slope == 2);
}

TEST_CASE("the score is paid at the last token, KL less its baseline at each", "[ppo]") {
  std::vector<double> const kl{0.5, 0.25, 0.75};
  CHECK(token_rewards(kl, 2, 0.5) == std::vector<double>{-0.25, -0.125, 1.625});
  CHECK(token_rewards(kl, 2, 0.5, 0.5) == std::vector<double>{0, 0.125, 1.875});
  CHECK_THROWS_WITH(token_rewards({}, 2, 0.5), contains("no tokens"));
}

TEST_CASE("with the baseline at the first KL per token, expected reward doesn't depend on length", "[ppo]") {
  std::vector<double> const kl{6, 2}, tokens{12, 4};
  double const baseline = kl_per_token(kl, tokens);
  CHECK(baseline == 0.5);
  auto total = [&](std::size_t length) {
    double sum = 0;
    for (double const reward : token_rewards(std::vector<double>(length, 0.5), 1, 0.1, baseline)) sum += reward;
    return sum;
  };
  CHECK_THAT(total(50) - total(3), WithinAbs(0, 1e-14));
}

TEST_CASE("the length guard trips when completions have become half as long", "[ppo]") {
  length_guard guard;
  CHECK(guard.admits(100));
  CHECK(guard.admits(51));
  CHECK_FALSE(guard.admits(49));
}

TEST_CASE("leave-one-out advantages are what is above the others and group-relative ones have unit deviation", "[ppo]") {
  std::vector<double> rewards{1, 2, 6}, other{1, 2, 6}, single{1};
  leave_one_out(rewards);
  CHECK_THAT(rewards[0], WithinAbs(1 - 4, 1e-14));
  CHECK_THAT(rewards[1], WithinAbs(2 - 3.5, 1e-14));
  CHECK_THAT(rewards[2], WithinAbs(6 - 1.5, 1e-14));
  standardize(other);
  double const deviation = std::sqrt(7.0) + 1e-4;  // (4 + 1 + 9) / 2
  CHECK_THAT(other[0], WithinAbs(-2 / deviation, 1e-14));
  CHECK_THAT(other[2], WithinAbs(3 / deviation, 1e-14));
  CHECK_THROWS_AS(leave_one_out(single), std::invalid_argument);
  CHECK_THROWS_AS(standardize(single), std::invalid_argument);
}
