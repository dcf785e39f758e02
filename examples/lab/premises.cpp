// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// The premises of the null baseline for unsolved rounds, broken one by one: rounds of Adam on DPO with sampled pairs.

using pairs = std::vector<arm_pair>;

// logits_y = Σ_h v_h tanh(⟨w_h, φ_y⟩): not linear in (W, v), which lie one after the other in θ.
struct tanh_policy {
  std::vector<vector> features;
  std::size_t hidden;

  [[nodiscard]] std::size_t inputs() const { return features[0].size(); }
  [[nodiscard]] std::size_t dimension() const { return hidden * (inputs() + 1); }
  [[nodiscard]] double unit(vector const& theta, std::size_t h, std::size_t y) const {
    double sum = 0;
    for (std::size_t k = 0; k < inputs(); ++k) sum += theta[h * inputs() + k] * features[y][k];
    return std::tanh(sum);
  }
  [[nodiscard]] vector logits(vector const& theta, std::size_t) const {
    vector result(features.size(), 0.0);
    for (std::size_t y = 0; y < features.size(); ++y)
      for (std::size_t h = 0; h < hidden; ++h) result[y] += theta[hidden * inputs() + h] * unit(theta, h, y);
    return result;
  }
  [[nodiscard]] auto forward(vector const& theta, pairs const& batch) const {
    vector const logp = log_softmax(logits(theta, 0));
    pair_log_probs found;
    for (arm_pair const& p : batch) {
      found.chosen.push_back(logp[p.chosen]);
      found.rejected.push_back(logp[p.rejected]);
    }
    // The loss is of the margin: the two slopes of a pair cancel in the normaliser.
    auto pullback = [this, &theta, &batch](pair_log_probs const& cotangent, vector& gradient) {
      vector at(features.size(), 0.0);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        at[batch[i].chosen] += cotangent.chosen[i];
        at[batch[i].rejected] += cotangent.rejected[i];
      }
      for (std::size_t y = 0; y < features.size(); ++y)
        for (std::size_t h = 0; h < hidden; ++h) {
          double const u = unit(theta, h, y), outer = at[y] * theta[hidden * inputs() + h] * (1 - u * u);
          gradient[hidden * inputs() + h] += at[y] * u;
          for (std::size_t k = 0; k < inputs(); ++k) gradient[h * inputs() + k] += outer * features[y][k];
        }
    };
    return forward_result{std::move(found), std::move(pullback)};
  }
};

struct training {
  double alpha, beta, rate;
  std::size_t rounds, steps, pairs_a_round;
  bool fresh = false;        // pairs of the anchor in each round, not of the start
  bool keeps_state = false;  // Adam's
  double clip = 1e300, decay = 0, epsilon = 1e-8;
};

// n pairs of two different arms, drawn together with probability in proportion to p_i p_j: in logarithms, so that a policy that is all but
// certain of one arm has pairs too.
pairs draw_pairs(vector const& logits, vector const& reward, std::size_t n, std::size_t seed) {
  std::mt19937_64 generator(seed);
  std::size_t const arms = logits.size();
  vector together;
  for (std::size_t i = 0; i < arms; ++i)
    for (std::size_t j = 0; j < arms; ++j) together.push_back(i == j ? -1e300 : logits[i] + logits[j]);
  vector const p = softmax(together);
  std::discrete_distribution<std::size_t> pair(p.begin(), p.end());
  std::uniform_real_distribution<double> uniform(0, 1);
  pairs found;
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t const at = pair(generator), i = at / arms, j = at % arms;
    bool const first = uniform(generator) < 1 / (1 + std::exp(reward[j] - reward[i]));
    found.push_back({0, first ? i : j, first ? j : i});
  }
  return found;
}

template <class Policy>
struct sampled_rounds {
  Policy const* policy;
  vector const* reward;
  training how;
  std::size_t seed;
  pairs data{};
  std::size_t drawn = 0;
  std::optional<adam::state<vector>> kept{};

  template <class State>
  pairs const& source(State const& s) {
    if (drawn != s.round + 1 && (how.fresh || drawn == 0))
      data = draw_pairs(policy->logits(s.theta, 0), *reward, how.pairs_a_round, seed * 1000 + s.round);
    drawn = s.round + 1;
    return data;
  }
  [[nodiscard]] pair_log_probs score(vector const& theta, pairs const& batch) const {
    return policy->forward(theta, batch).logp;
  }
  status solve(vector& theta, pairs const& batch, pair_log_probs const& reference, std::size_t) {
    adam const optimizer{.rate = how.rate, .epsilon = how.epsilon};
    if (!kept || !how.keeps_state) kept.emplace(optimizer.init(std::as_const(theta)));
    vector gradient(theta.size());
    for (std::size_t k = 0; k < how.steps; ++k) {
      auto const forward = policy->forward(std::as_const(theta), batch);
      auto const [value, cotangent] = preference_loss(dpo{how.beta}, {forward.logp, reference});
      std::fill(gradient.begin(), gradient.end(), 0.0);
      forward.pullback(cotangent, gradient);
      double const norm = std::sqrt(dot(gradient, gradient));
      if (norm > how.clip) axpby(0, theta, how.clip / norm, gradient);
      if (how.decay != 0) axpby(0, gradient, 1 - how.rate * how.decay, theta);
      optimizer.step(*kept, theta, std::as_const(gradient));
    }
    return status::done;
  }
};

template <class Policy>
vector train(Policy const& policy, vector const& reward, vector const& start, training const& how, double alpha,
             std::size_t seed) {
  sampled_rounds<Policy> problem{&policy, &reward, how, seed};
  constant const schedule{{alpha}};
  auto s = kedge::state_for<pair_log_probs>(start, schedule);
  (void)kedge::run(s, schedule, problem, how.rounds);
  return s.theta;
}

// The settings of a null baseline; of the norm and of ε only where they are said to follow.
training null_of(training how, null_kind kind, bool gradient_follows) {
  auto const null =
      effective_baseline(constant_momentum{how.alpha}, how.rounds, adam{.rate = how.rate, .epsilon = how.epsilon}, kind);
  how.beta *= null.factors.beta;
  how.rate = null.optimizer.rate;
  if (gradient_follows) {
    how.epsilon = null.optimizer.epsilon;
    how.clip *= null.factors.gradient;
  }
  return how;
}

// Of one seed: relative distance of APO's end from that of `both`, and rewards.
struct measured {
  double apart, apo, plain, beta, rate, both;
};

template <class Policy>
measured measure(Policy const& policy, vector const& start, vector const& reward, training const& how, std::size_t seed,
                 bool follows = true) {
  auto value = [&](vector const& theta) { return expected(softmax(policy.logits(theta, 0)), reward); };
  auto null = [&](null_kind kind) { return train(policy, reward, start, null_of(how, kind, follows), 0, seed); };
  vector const with = train(policy, reward, start, how, how.alpha, seed), both = null(null_kind::both);
  return {max_difference(with, both) / max_difference(with, start),
          value(with),
          value(train(policy, reward, start, how, 0, seed)),
          value(null(null_kind::beta)),
          value(null(null_kind::rate)),
          value(both)};
}

struct scenario {
  std::string name;
  bool nonlinear;
  training how;
  bool follows;
};

measured one_seed(scenario const& s, std::size_t arms, std::size_t seed) {
  std::mt19937_64 generator(seed);
  std::size_t const inputs = 6;
  std::vector<vector> features;
  for (std::size_t y = 0; y < arms; ++y) features.push_back(normal_vector(inputs, 1, generator));
  vector const reward = normal_vector(arms, 1, generator);
  if (s.nonlinear) {
    tanh_policy const policy{features, 12};
    vector const start = normal_vector(policy.dimension(), 0.5, generator);
    return measure(policy, start, reward, s.how, seed, s.follows);
  }
  return measure(softmax_linear({features}), normal_vector(inputs, 0.3, generator), reward, s.how, seed, s.follows);
}

outcome null_premises(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 3), seeds = a.count("seeds", 2), first = a.count("seed");
  training base{a.number("alpha", 0, 1), a.positive("beta"), a.positive("rate"),
                a.count("rounds"),       a.count("steps"),   a.count("pairs")};
  double const margin = a.positive("margin");
  if (base.alpha == 1) throw usage_error("--alpha 1: it must be below 1");
  auto with = [&](auto const& change) {
    training how = base;
    change(how);
    return how;
  };
  std::vector<scenario> const scenarios{
      {"every premise holds", false, base, true},
      {"epsilon 1e-8 unscaled", false, base, false},
      {"clipped at the same norm", false, with([](training& t) { t.clip = 0.1; }), false},
      {"weight decay 0.1", false, with([](training& t) { t.decay = 0.1; }), true},
      {"Adam's state kept", false, with([](training& t) { t.keeps_state = true; }), true},
      {"fresh pairs from the anchor", false, with([](training& t) { t.fresh = true; }), true},
      {"a nonlinear policy", true, base, true},
      {"a nonlinear policy, fresh pairs", true, with([](training& t) { t.fresh = true; }), true}};
  plot p{"Mean reward after the last round, less that of plain rounds", "scenario, in the order of the claims", "reward", false,
         false};
  std::vector<std::vector<vector>> gains(4, std::vector<vector>(seeds));
  for (scenario const& s : scenarios) {
    vector apart, difference, over_beta;
    for (std::size_t k = 0; k < seeds; ++k) {
      measured const m = one_seed(s, arms, first + k);
      apart.push_back(m.apart);
      difference.push_back(m.apo - m.both);
      over_beta.push_back(m.apo - m.beta);
      double const rewards[] = {m.apo, m.beta, m.rate, m.both};
      for (std::size_t i = 0; i < 4; ++i) gains[i][k].push_back(rewards[i] - m.plain);
    }
    result.series.emplace_back("apart: " + s.name, apart);
    result.notes.push_back(s.name + ": APO ends " + text(mean_interval(apart).mean) +
                           " of its way from the start apart from both; reward of APO less beta alone " +
                           text(mean_interval(over_beta).mean) + ".");
    if (&s == &scenarios[0]) {
      result.near("largest distance of APO from both, " + s.name, 0, *std::max_element(apart.begin(), apart.end()), 1e-12);
      result.given(base.alpha > 0 && base.rounds > 1, "momentum: alpha > 0 and two rounds");
      result.mean_above("reward of APO less beta alone, " + s.name, 0, over_beta);
      result.given_all();
    } else {
      result.mean_near("reward of APO less both, " + s.name, 0, margin, difference);
    }
  }
  char const* const names[] = {"APO", "null: beta alone", "null: rate alone", "null: both"};
  for (std::size_t i = 0; i < 4; ++i) p.curves.push_back(averaged(names[i], gains[i]));
  result.plots = {p};
  return result;
}

}  // namespace

std::vector<experiment> premise_experiments() {
  return {
      {"null-premises",
       "What breaks the null baseline of unsolved rounds, and by how much",
       "Plain rounds with beta_eq and Adam's rate times beta/beta_eq are APO exactly on a log-linear policy with fixed pairs. "
       "Clipping, Adam's epsilon, weight "
       "decay, a kept optimizer state, fresh samples and a nonlinear policy break it; the reward moves by less than the margin "
       "that is declared beforehand. Beta "
       "alone is far away.",
       {{"alpha", "0.5", "constant momentum"},
        {"beta", "1", "weight of the KL term"},
        {"rate", "0.005", "of Adam"},
        {"arms", "10", "arms"},
        {"rounds", "6", "rounds"},
        {"steps", "12", "inner steps of a round"},
        {"pairs", "300", "pairs of a round"},
        {"margin", "0.1", "difference in reward that counts as none; rewards of arms have deviation 1"},
        option_seed,
        option_seeds("60")},
       null_premises},
  };
}

}  // namespace kedge_lab
