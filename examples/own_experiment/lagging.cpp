// SPDX-License-Identifier: Apache-2.0
// An experiment of one's own: what an anchor that lags behind costs. The harness makes of it a program like kedge-lab.
#include <algorithm>
#include <cstddef>
#include <random>
#include <utility>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/harness.hpp>
#include <kedge/lab/lab.hpp>

namespace {

using kedge::lab::vector;

// Logits after exact rounds on a bandit, from the uniform policy.
template <class Schedule>
vector result_of(Schedule const& schedule, vector const& reward, double beta, std::size_t rounds) {
  kedge::lab::exact_bandit<vector> problem(reward, beta);
  auto s = kedge::state_for<vector>(vector(reward.size(), 0.0), schedule, problem);
  (void)kedge::run(s, schedule, problem, rounds);
  return s.theta;
}

// The anchor moves by τ r/β a round, and the last round adds r/β: 1 + (T − 1) τ steps in all.
kedge::lab::outcome lagging_anchor(kedge::lab::arguments const& a) {
  kedge::lab::outcome result;
  std::size_t const rounds = a.count("rounds"), arms = a.count("arms", 2), seeds = a.count("seeds", 2);
  double const beta = a.positive("beta"), tau = a.number("tau", 0, 1, true);
  double const steps = 1 + static_cast<double>(rounds - 1) * tau;
  double apart = 0;
  vector lost;
  kedge::lab::drawing::plot p{"Reward gap on the first bandit", "round t", "reward gap"};
  for (std::size_t seed = 1; seed <= seeds; ++seed) {
    std::mt19937_64 generator(seed);
    vector const reward = kedge::lab::random_reward(arms, generator);
    vector exact = reward;
    for (double& x : exact) x *= steps / beta;
    vector const lagging = result_of(kedge::ema_anchor{tau}, reward, beta, rounds);
    apart = std::max(apart, kedge::lab::max_difference(kedge::lab::centered(lagging), kedge::lab::centered(exact)));
    lost.push_back(kedge::lab::reward_gap(lagging, reward) -
                   kedge::lab::reward_gap(result_of(kedge::hand_off{}, reward, beta, rounds), reward));
    if (seed > 1) continue;
    p.curves = {{"anchor that lags", {}}, {"anchor handed off", {}}};
    for (std::size_t t = 1; t <= rounds; ++t) {
      p.curves[0].y.push_back(kedge::lab::reward_gap(result_of(kedge::ema_anchor{tau}, reward, beta, t), reward));
      p.curves[1].y.push_back(kedge::lab::reward_gap(result_of(kedge::hand_off{}, reward, beta, t), reward));
    }
  }
  result.series = {{"lost", lost}};
  result.near("largest distance of the logits from 1 + (T - 1) tau steps", 0, apart, 1e-10);
  result.given(tau < 1 && rounds > 1, "an anchor that lags: tau < 1 and two rounds");
  result.mean_above("reward lost against handing the anchor off", 0, lost);
  result.plots = {std::move(p)};
  return result;
}

}  // namespace

int main(int count, char** texts) {
  return kedge::lab::kedge_lab_main(
      {{"lagging-anchor",
        "What an anchor that lags costs",
        "An anchor that goes a share tau of the way to each result makes 1 + (T - 1) tau steps in T exact rounds.",
        {{"tau", "0.6", "share of the last result in the new anchor"},
         {"beta", "1", "weight of the KL term"},
         {"rounds", "12", "rounds T"},
         {"arms", "6", "arms"},
         {"seeds", "20", "random bandits"}},
        lagging_anchor}},
      count, texts, {"lagging-lab", "Anchors that lag"});
}
