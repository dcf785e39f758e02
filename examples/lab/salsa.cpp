// SPDX-License-Identifier: Apache-2.0
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

using namespace kedge;
using namespace kedge::lab;
using kedge::lab::vector;

// SALSA: the KL term anchored at one SFT model, at the soup of two, or at both.

struct two_models {
  vector reward;
  std::vector<vector> logits;
  vector soup;
};

// Two SFT models: one base, one slope towards the reward, independent training noise.
two_models draw_models(std::size_t arms, double noise, std::mt19937_64& generator) {
  two_models m{normal_vector(arms, 1, generator), {}, vector(arms, 0.0)};
  vector const base = normal_vector(arms, 1, generator);
  for (int i = 0; i < 2; ++i) {
    vector theta = normal_vector(arms, noise, generator);
    axpby(1, base, 1, theta);
    axpby(0.5, m.reward, 1, theta);
    axpby(0.5, theta, 1, m.soup);
    m.logits.push_back(std::move(theta));
  }
  return m;
}

outcome salsa_soup(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms"), rounds = a.count("rounds"), repetitions = a.count("repetitions");
  double const beta = a.number("beta");
  if (arms < 2 || repetitions < 2) throw usage_error("salsa-soup: --arms and --repetitions must be at least 2");
  std::mt19937_64 generator(a.count("seed"));
  two_models const m = draw_models(arms, a.number("noise"), generator);
  vector const half{0.5, 0.5};
  double const first_kl = kl(m.logits[0], m.soup);
  // One round of the loop is ten mirror-ascent steps from the first model, around each anchor.
  auto follow = [&](std::vector<anchor_term<vector>> anchor, auto const& measure) {
    anchored_reward problem(m.reward, beta, 0.02 / beta, 10);
    kedge::state<vector, vector, fixed_anchor> s(m.logits[0]);
    s.anchor = std::move(anchor);
    vector values{measure(s.theta)};
    for (std::size_t t = 1; t <= rounds; ++t) {
      (void)kedge::run(s, fixed_anchor{}, problem, t);
      values.push_back(measure(s.theta));
    }
    return values;
  };
  auto mean_reward = [&](vector const& theta) { return expected(softmax(theta), m.reward); };
  std::vector<anchor_term<vector>> const one{{1, m.logits[0]}}, soup{{1, m.soup}}, both{{.5, m.logits[0]}, {.5, m.logits[1]}};
  vector const salsa_kl = follow(soup, [&](vector const& theta) { return kl(theta, m.soup); });
  vector const ppo_kl = follow(one, [&](vector const& theta) { return kl(theta, m.logits[0]); });
  vector const salsa = follow(soup, mean_reward), ppo = follow(one, mean_reward), two_terms = follow(both, mean_reward);
  result.series = {
      {"reward_salsa", salsa}, {"reward_ppo", ppo}, {"reward_two_kl", two_terms}, {"kl_salsa", salsa_kl}, {"kl_ppo", ppo_kl}};
  result.above("KL to the anchor at step 0, SALSA", 0, first_kl);
  result.near("KL to the anchor at step 0, PPO", 0, ppo_kl[0], 1e-15);
  double const tax = disagreement_tax(m.logits, half);
  result.near("KL at step 0 against its closed form KL(1, 2)/2 - tax", 0.5 * kl(m.logits[0], m.logits[1]) - tax, first_kl,
              1e-12);
  result.near("reward after the last round, two KL terms minus SALSA (on a table they are one)", 0,
              two_terms.back() - salsa.back(), 1e-12);
  vector exact = anchored_optimum(m.soup, m.reward, beta);  // θ_n = optimum + (1 − ηβ)^n (start − optimum)
  double const left = std::pow(0.98, 10 * static_cast<double>(rounds));
  axpby(left, m.logits[0], 1 - left, exact);
  result.near("reward of SALSA after the last round against its closed form", mean_reward(exact), salsa.back(), 1e-10);
  result.above("tax of two KL terms over one to the soup, nats", 0, tax);
  vector budgets, around_one, around_soup, gains;
  for (double budget = 0.1; budget < 2.01; budget += 0.1) budgets.push_back(budget);
  around_one = around_soup = vector(budgets.size(), 0.0);
  for (std::size_t repetition = 0; repetition < repetitions; ++repetition) {
    two_models const drawn = draw_models(arms, a.number("noise"), generator);
    for (std::size_t i = 0; i < budgets.size(); ++i) {
      double const single = reachable_reward(drawn.logits[0], drawn.reward, budgets[i]);
      double const averaged = reachable_reward(drawn.soup, drawn.reward, budgets[i]);
      around_one[i] += single / static_cast<double>(repetitions);
      around_soup[i] += averaged / static_cast<double>(repetitions);
      if (i == 9) gains.push_back(averaged - single);
    }
  }
  auto const [gain, error] = estimate_mean(gains);
  result.above("reachable reward at KL 1, soup minus one model, over its standard error", 2, gain / error);
  result.notes = {"soup minus one model at KL 1: " + text(gain) + " ± " + text(error) +
                      ". The soup averages the two models' training noise "
                      "away; with --noise 0 both anchors are one and the difference is 0.",
                  "Two KL terms cost a tax of " + text(tax) +
                      " nats that doesn't depend on the policy: in exact arithmetic the optimum is "
                      "SALSA's."};
  plot rewards{"Mean reward, started at the first model", "round t (10 steps each), the start included", "mean reward", false,
               false};
  rewards.curves = {
      {"around the soup (SALSA)", salsa}, {"around one model (PPO)", ppo}, {"two KL terms", two_terms, line::exact}};
  plot kls{"KL to the own anchor", "round t (10 steps each), the start included", "KL, nats", false, false};
  kls.curves = {{"SALSA: positive from the start", salsa_kl}, {"PPO", ppo_kl}};
  plot frontier{"Reachable reward within a KL budget, mean of " + std::to_string(repetitions) + " problems",
                "KL(policy, anchor), nats", "mean reward", false, false};
  frontier.curves = {{"anchor: the soup", around_soup, line::measured, budgets},
                     {"anchor: one model", around_one, line::measured, budgets}};
  result.plots = {frontier, rewards, kls};
  return result;
}

}  // namespace

std::vector<experiment> salsa_experiments() {
  option const seed{"seed", "7", "of the random numbers"};
  return {
      {"salsa-soup",
       "SALSA: the KL term around a soup",
       "Started at one SFT model and anchored at the soup of two, the KL is positive at step 0. Averaging removes training "
       "noise, so that more "
       "reward is within reach at equal KL. Two KL terms have the soup's optimum, and a tax on disagreement.",
       {{"beta", "0.5", "weight of the KL term"},
        {"arms", "50", "arms"},
        {"noise", "0.7", "training noise of the SFT models"},
        {"rounds", "60", "rounds of ten steps"},
        {"repetitions", "300", "problems for the frontier"},
        seed},
       salsa_soup},
  };
}

}  // namespace kedge_lab
