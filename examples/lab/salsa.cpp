// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// SALSA: the KL term anchored at one fine-tuned model, at the soup of two, or at both.

constexpr std::size_t units = 8, inputs = 4;

// Logits of arm y: table_y + Σ_h v_h tanh⟨w_h, φ_y⟩. A unit whose signs of w_h and v_h are both turned is the same function, so that two
// models may be alike in what they do and far apart in weights: averages of their weights then lose the unit.
struct network {
  vector table, w, v;  // w: units × inputs
};

vector logits_of(network const& m, std::vector<vector> const& features) {
  vector result = m.table;
  for (std::size_t y = 0; y < result.size(); ++y)
    for (std::size_t h = 0; h < units; ++h) {
      double sum = 0;
      for (std::size_t k = 0; k < inputs; ++k) sum += m.w[h * inputs + k] * features[y][k];
      result[y] += m.v[h] * std::tanh(sum);
    }
  return result;
}

network average(network const& x, network y) {
  for (auto [from, to] : {std::pair{&x.table, &y.table}, {&x.w, &y.w}, {&x.v, &y.v}}) axpby(0.5, *from, 0.5, *to);
  return y;
}

struct models {
  vector reward, base, first, second, soup;  // logits; base: what both were fine-tuned from
};

// Two fine-tuned models: one base, one slope towards the reward, training noise of which a share is common to both, and in the second
// model the first `turned` units in the other basin.
models draw_models(std::size_t arms, double noise, double common, std::size_t turned, std::size_t seed) {
  std::mt19937_64 generator(seed);
  models m{normal_vector(arms, 1, generator), {}, {}, {}, {}};
  std::vector<vector> features;
  for (std::size_t y = 0; y < arms; ++y) features.push_back(normal_vector(inputs, 1, generator));
  network base{vector(arms, 0.0), normal_vector(units * inputs, 1, generator), normal_vector(units, 0.5, generator)};
  m.base = logits_of(base, features);
  vector const shared = normal_vector(arms, noise, generator);
  network tuned[2] = {base, base};
  for (network& one : tuned) {
    axpby(0.5, m.reward, 1, one.table);
    axpby(std::sqrt(common), shared, 1, one.table);
    axpby(std::sqrt(1 - common), normal_vector(arms, noise, generator), 1, one.table);
  }
  for (std::size_t h = 0; h < turned; ++h) {
    tuned[1].v[h] = -tuned[1].v[h];
    for (std::size_t k = 0; k < inputs; ++k) tuned[1].w[h * inputs + k] = -tuned[1].w[h * inputs + k];
  }
  m.first = logits_of(tuned[0], features);
  m.second = logits_of(tuned[1], features);
  m.soup = logits_of(average(tuned[0], tuned[1]), features);
  return m;
}

// The reward that PPO around an anchor reaches where it is `budget` nats from the common point: at anchor · e^{γ r}, γ found by bisection.
// Both anchors are judged by the distance from the base, not from themselves. γ ≥ 0; NaN where the anchor is farther than the budget.
double reward_at(vector const& anchor, vector const& reward, vector const& common_point, double budget) {
  auto tilted = [&](double gamma) {
    vector logits = anchor;
    axpby(gamma, reward, 1, logits);
    return logits;
  };
  if (kl(anchor, common_point) > budget) return std::nan("");
  double low = 0, high = 1;
  while (kl(tilted(high), common_point) < budget && high < 1e6) high *= 2;
  for (int i = 0; i < 50; ++i) {
    double const middle = (low + high) / 2;
    (kl(tilted(middle), common_point) < budget ? low : high) = middle;
  }
  return expected(softmax(tilted(high)), reward);
}

struct comparison {
  vector gains;  // soup minus one model, by seed, at the budget; NaN where an anchor is farther
  std::vector<vector> one, soup;
  std::size_t beyond = 0;  // seeds whose anchors are farther than the budget
};

vector const budgets = by_round(20, [](std::size_t i) { return 0.3 * static_cast<double>(i); });

comparison compare(arguments const& a, double common, std::size_t turned) {
  comparison found;
  double const budget = a.positive("budget");
  for (std::size_t seed = a.count("seed"); seed < a.count("seed") + a.count("seeds", 2); ++seed) {
    models const m = draw_models(a.count("arms", 2), a.number("noise", 0, 10), common, turned, seed);
    double const single = reward_at(m.first, m.reward, m.base, budget), soup = reward_at(m.soup, m.reward, m.base, budget);
    found.gains.push_back(soup - single);
    found.beyond += std::isnan(found.gains.back()) ? 1 : 0;
    found.one.emplace_back();
    found.soup.emplace_back();
    for (double const b : budgets) {
      found.one.back().push_back(reward_at(m.first, m.reward, m.base, b));
      found.soup.back().push_back(reward_at(m.soup, m.reward, m.base, b));
    }
  }
  return found;
}

// Averages over the seeds that have a value, from the first budget that all have.
void add_frontier(plot& p, std::string const& name, std::vector<vector> const& seeds) {
  std::size_t from = 0;
  for (vector const& one : seeds)
    while (from < one.size() && std::isnan(one[from])) ++from;
  std::vector<vector> cut;
  for (vector const& one : seeds) cut.emplace_back(one.begin() + static_cast<std::ptrdiff_t>(from), one.end());
  if (from < budgets.size())
    p.curves.push_back(averaged(name, cut, vector(budgets.begin() + static_cast<std::ptrdiff_t>(from), budgets.end())));
}

// Closed forms, on the models of the first seed: mirror ascent around each anchor.
void closed_forms(arguments const& a, outcome& result) {
  double const beta = a.positive("beta");
  std::size_t const rounds = a.count("rounds");
  models const m = draw_models(a.count("arms", 2), a.number("noise"), 0, 0, a.count("seed"));
  std::vector<vector> const both{m.first, m.second};
  vector const half{0.5, 0.5};
  auto follow = [&](std::vector<anchor_term<vector>> anchor, auto const& measure) {
    anchored_reward problem(m.reward, beta, 0.02 / beta, 10);  // a round is ten steps
    kedge::state<vector, vector, fixed_anchor> s(m.first);
    s.anchor = std::move(anchor);
    vector values{measure(s.theta)};
    for (std::size_t t = 1; t <= rounds; ++t) {
      (void)kedge::run(s, fixed_anchor{}, problem, t);
      values.push_back(measure(s.theta));
    }
    return values;
  };
  auto mean_reward = [&](vector const& logits) { return expected(softmax(logits), m.reward); };
  std::vector<anchor_term<vector>> const one{{1.0, m.first}}, soup{{1.0, m.soup}}, two{{0.5, m.first}, {0.5, m.second}};
  vector const salsa = follow(soup, mean_reward), ppo = follow(one, mean_reward), two_terms = follow(two, mean_reward);
  vector const salsa_kl = follow(soup, [&](vector const& x) { return kl(x, m.soup); });
  vector const ppo_kl = follow(one, [&](vector const& x) { return kl(x, m.first); });
  result.series = {
      {"reward_salsa", salsa}, {"reward_ppo", ppo}, {"reward_two_kl", two_terms}, {"kl_salsa", salsa_kl}, {"kl_ppo", ppo_kl}};
  double const tax = disagreement_tax(both, half);
  result.given(a.number("noise") > 0, "models that differ, noise > 0");
  result.above("KL to the anchor at step 0, SALSA", 0, salsa_kl[0]);
  result.above("tax of two KL terms over one to the soup, nats", 0, tax);
  result.given_all();
  result.near("KL to the anchor at step 0, PPO", 0, ppo_kl[0], 1e-14);
  result.near("KL at step 0 against its closed form KL(1, 2)/2 - tax", 0.5 * kl(m.first, m.second) - tax, salsa_kl[0], 1e-12);
  result.near("reward after the last round, two KL terms minus SALSA (on a table they are one)", 0,
              two_terms.back() - salsa.back(), 1e-12);
  vector exact = anchored_optimum(m.soup, m.reward, beta);  // θ_n = optimum + (1 − ηβ)^n (start − optimum)
  double const left = std::pow(0.98, 10 * static_cast<double>(rounds));
  axpby(left, m.first, 1 - left, exact);
  result.near("reward of SALSA after the last round against its closed form", mean_reward(exact), salsa.back(), 1e-10);
  plot kls{"KL to the own anchor", "round t (10 steps each), the start included", "KL, nats", false, false};
  kls.curves = {{"SALSA: positive from the start", salsa_kl}, {"PPO", ppo_kl}};
  result.plots.push_back(kls);
}

outcome salsa_soup(arguments const& a) {
  outcome result;
  std::size_t const turned = a.count("turned", 0);
  double const noise = a.number("noise", 0, 10), common = a.number("common", 0, 1);
  if (turned > units)
    throw usage_error("--turned " + std::to_string(turned) + ": the networks have " + std::to_string(units) + " units");
  closed_forms(a, result);
  comparison const apart = compare(a, 0, 0), alike = compare(a, common, 0), basins = compare(a, 0, turned);
  std::string const at = "reward at " + text(a.number("budget")) + " nats from the base, soup minus one model";
  auto judged = [&](std::size_t beyond, bool premise, std::string const& missing, auto const& make) {
    result.given(premise && beyond == 0, beyond == 0 ? missing
                                                     : "anchors within the budget, a larger --budget; " +
                                                           std::to_string(beyond) + " seeds have theirs beyond it");
    make();
    result.given_all();
  };
  judged(apart.beyond, noise > 0, "noise > 0",
         [&] { result.mean_above(at + ": one basin, independent noise", 0, apart.gains); });
  judged(apart.beyond + alike.beyond, noise > 0 && common > 0, "noise > 0 and a common share", [&] {
    if (common == 1)
      result.near(at + ": one basin, the same noise", 0, mean_interval(alike.gains).mean, 1e-12);
    else
      result.mean_above("the same, independent noise less noise of which a share of " + text(common) + " is common", 0,
                        minus(apart.gains, alike.gains));
  });
  judged(basins.beyond, turned > 0, "turned units, --turned",
         [&] { result.mean_below(at + ": " + std::to_string(turned) + " of 8 units in the other basin", 0, basins.gains); });
  if (noise == 0 && apart.beyond == 0) result.near(at + ": no noise, one basin", 0, mean_interval(apart.gains).mean, 1e-11);
  plot frontier{"Reward against KL to the base, one basin, independent noise", "KL(policy, base), nats", "mean reward", false,
                false};
  add_frontier(frontier, "anchor: the soup", apart.soup);
  add_frontier(frontier, "anchor: one model", apart.one);
  plot other = frontier;
  other.title = "Reward against KL to the base, " + std::to_string(turned) + " of 8 units of the second model in another basin";
  other.curves.clear();
  add_frontier(other, "anchor: the soup", basins.soup);
  add_frontier(other, "anchor: one model", basins.one);
  result.plots.insert(result.plots.begin(), {frontier, other});
  result.notes = {
      "Every policy is measured from one common point, the base that both models were fine-tuned from; distances from the own "
      "anchor flatter whichever anchor is far out.",
      "The soup wins here because training noise is independent and averages out; the more of it is common, the less it wins. "
      "Where the models lie in different "
      "basins the average is neither, and the soup hurts.",
      "Two KL terms cost a tax that doesn't depend on the policy: in exact arithmetic their optimum is SALSA's."};
  return result;
}

}  // namespace

std::vector<experiment> salsa_experiments() {
  using namespace kedge::lab::drawing::mathml;
  return {
      {"salsa-soup",
       "SALSA: where a soup as the anchor helps, and where it hurts",
       "Started at one fine-tuned model and anchored at the soup of two, the KL is positive at step 0. In one basin averaging "
       "removes independent training noise, and "
       "more reward is within reach at equal KL to the base; noise that both models share stays. Where the models lie in "
       "different basins of the landscape the soup "
       "hurts. Two KL terms have the soup's optimum, and a tax on disagreement.",
       {{"beta", "0.5", "weight of the KL term"},
        {"arms", "50", "arms"},
        {"noise", "0.7", "training noise of the fine-tuned models"},
        {"common", "0.8", "share of the noise's variance that both models have in common, beside 0"},
        {"turned", "4", "units of the second model in another basin, of 8, beside 0"},
        {"budget", "2.5", "KL to the base, nats"},
        {"rounds", "60", "rounds of ten steps"},
        option_seed,
        option_seeds("200")},
       salsa_soup,
       i("KL") + o("(") + sub(i("θ"), n("1")) + o(",") + i("soup") + o(")") + o("=") + over(n("1"), n("2")) + i("KL") + o("(") +
           sub(i("θ"), n("1")) + o(",") + sub(i("θ"), n("2")) + o(")") + o("−") + i("tax")},
  };
}

}  // namespace kedge_lab
