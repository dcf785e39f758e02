// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "support/catch.hpp"

using namespace kedge;
using namespace kedge::lab;
using kedge::lab::vector;
using kedge::testing::WithinAbs;

// Minimisers of expected losses on a table, docs/math.md (3): each loss is run to convergence by gradient descent on logits.
namespace {

vector const anchor{std::log(0.5), std::log(0.3), std::log(0.2)};
preference_game const game({{0.5, 0.9, 0.7}, {0.1, 0.5, 0.6}, {0.3, 0.4, 0.5}});

// All pairs of different arms, weighted as if both were drawn from the anchor and labelled by the game.
struct weighted_pairs {
  std::vector<arm_pair> pairs;
  vector weights, score_chosen, score_rejected;  // scores: win rates against the anchor
};

weighted_pairs population(bool with_itself) {
  weighted_pairs all;
  vector const p = softmax(anchor), rates = game.win_rates(p);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      if (i == j && !with_itself) continue;
      all.pairs.push_back({0, i, j});
      all.weights.push_back(p[i] * p[j] * game(i, j));
      all.score_chosen.push_back(rates[i]);
      all.score_rejected.push_back(rates[j]);
    }
  return all;
}

struct table_policy {
  softmax_linear policy;
  auto forward(vector const& theta, weighted_pairs const& batch) const { return policy.forward(theta, batch.pairs); }
};

table_policy table() { return {softmax_linear{{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}}}; }

// The policy at the minimum, from the anchor.
template <class Loss>
vector minimiser(Loss const& loss, double rate) {
  policy_problem problem{table(), loss, sgd{rate}, population(!Loss::paired), 200000, 1e-12};
  auto s = state_for<pair_log_probs>(anchor, hand_off{});
  REQUIRE(run(s, hand_off{}, problem, 1) == status::done);
  return softmax(s.theta);
}

vector tilted(vector const& g) {
  vector logits = anchor;
  axpby(1, g, 1, logits);
  return softmax(logits);
}

vector scaled_rates(double scale) {
  vector g = game.win_rates(softmax(anchor));
  for (double& value : g) value *= scale;
  return g;
}

// SPPO: π̂ = π_t W₀(λ e^g)/λ with g = (P − ½)/β and λ ≥ 0 so that probabilities sum to one, by bisection.
vector sppo_minimiser(double beta) {
  vector const p = softmax(anchor), rates = scaled_rates(1);
  auto at = [&](double lambda) {
    vector result;
    for (std::size_t i = 0; i < 3; ++i) {
      double const g = (rates[i] - 0.5) / beta;
      result.push_back(lambda == 0 ? p[i] * std::exp(g) : p[i] * lambert_w0(lambda * std::exp(g)) / lambda);
    }
    return result;
  };
  auto total = [&](double lambda) { return expected(at(lambda), vector(3, 1.0)); };
  double low = 0, high = 1;
  while (total(high) > 1) high *= 2;
  for (int i = 0; i < 200; ++i) (total((low + high) / 2) > 1 ? low : high) = (low + high) / 2;
  return at((low + high) / 2);
}

}  // namespace

TEST_CASE("the minimisers of IPO and ONPO are one step of mirror descent on win rates", "[closed_forms]") {
  CHECK(max_difference(minimiser(ipo_sum{.beta = 0.4}, 0.4), tilted(scaled_rates(1 / 0.4))) < 1e-9);
  CHECK(max_difference(minimiser(onpo{.eta = 1.3}, 0.4), tilted(scaled_rates(1.3))) < 1e-9);
}

TEST_CASE("the minimiser of SPPO is no mirror step where probabilities sum to one but Lambert's function of it", "[closed_forms]") {
  for (double const beta : {0.1, 0.5, 3.0}) {
    INFO("beta " << beta);
    vector const exact = sppo_minimiser(beta);
    CHECK_THAT(expected(exact, vector(3, 1.0)), WithinAbs(1, 1e-12));
    CHECK(max_difference(minimiser(sppo{.beta = beta}, 0.05), exact) < 1e-9);
    CHECK(max_difference(minimiser(sppo_hard{.beta = beta}, 0.02), exact) < 1e-9);
  }
  // Far from the mirror step for small beta; the same to second order in 1/beta for large beta.
  CHECK(max_difference(sppo_minimiser(0.1), tilted(scaled_rates(10))) > 0.02);
  CHECK(max_difference(sppo_minimiser(30), tilted(scaled_rates(1 / 30.0))) < 1e-4);
}

TEST_CASE("the minimiser of DPO under Bradley-Terry is the anchor tilted by the reward over beta", "[closed_forms]") {
  vector const reward{0.3, -0.8, 1};
  auto const wins = bradley_terry(reward);
  weighted_pairs all = population(false);
  for (std::size_t k = 0; k < all.pairs.size(); ++k) {
    vector const p = softmax(anchor);
    all.weights[k] = p[all.pairs[k].chosen] * p[all.pairs[k].rejected] * wins(all.pairs[k].chosen, all.pairs[k].rejected);
  }
  policy_problem problem{table(), dpo{0.5}, sgd{20}, all, 200000, 1e-13};
  auto s = state_for<pair_log_probs>(anchor, hand_off{});
  REQUIRE(run(s, hand_off{}, problem, 1) == status::done);
  CHECK(max_difference(softmax(s.theta), softmax(anchored_optimum(anchor, reward, 0.5))) < 1e-9);
}
