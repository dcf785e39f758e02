// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// Rounds that are not solved: K steps of an optimizer on DPO's loss over pairs of arms with fixed weights.

template <class Optimizer>
struct unsolved {
  using optimizer_state = decltype(Optimizer{}.init(vector{}));

  comparison_counts pairs;
  double beta;
  Optimizer optimizer;
  std::size_t steps;
  bool keeps_state = false;  // the optimizer's, from round to round
  std::optional<optimizer_state> kept{};
  double last_step = 0;  // largest change in the last step of the last round

  template <class State>
  comparison_counts const& source(State const&) const {
    return pairs;
  }
  [[nodiscard]] vector score(vector const& logits, comparison_counts const&) const { return logits; }
  status solve(vector& logits, comparison_counts const& data, vector const& anchor, std::size_t) {
    if (!kept || !keeps_state) kept.emplace(optimizer.init(std::as_const(logits)));
    vector gradient(logits.size()), before;
    for (std::size_t k = 0; k < steps; ++k) {
      std::fill(gradient.begin(), gradient.end(), 0.0);
      for (std::size_t i = 0; i < logits.size(); ++i)
        for (std::size_t j = 0; j < logits.size(); ++j) {
          if (i == j) continue;
          double const slope = data(i, j) * dpo{beta}(pair_terms{logits[i], logits[j], anchor[i], anchor[j]}).chosen;
          gradient[i] += slope;
          gradient[j] -= slope;
        }
      before = logits;
      optimizer.step(*kept, logits, std::as_const(gradient));
    }
    last_step = max_difference(before, logits);
    return status::done;
  }
};

struct world {
  vector reward;
  comparison_counts pairs;
  double alpha, beta;
  std::size_t rounds;
};

struct course {
  vector gaps;  // after each round
  vector end;
  double last_step;
};

template <class Schedule, class Optimizer>
course follow(world const& w, Schedule const& schedule, double beta, Optimizer const& optimizer, std::size_t steps,
              bool keeps_state = false) {
  unsolved<Optimizer> problem{w.pairs, beta, optimizer, steps, keeps_state};
  auto s = kedge::state_for<vector>(vector(w.reward.size(), 0.0), schedule);
  course found{};
  for (std::size_t t = 1; t <= w.rounds; ++t) {
    (void)kedge::run(s, schedule, problem, t);
    found.gaps.push_back(reward_gap(s.theta, w.reward));
  }
  found.end = s.theta;
  found.last_step = problem.last_step;
  return found;
}

// One run of DPO on one reference with beta / T, whose solution is that of T rounds, by heavy ball.
course without_anchor(world const& w, double rate, std::size_t steps) {
  unsolved<heavy_ball> problem{w.pairs, w.beta / static_cast<double>(w.rounds), {rate, w.alpha}, steps, true};
  fixed_anchor const schedule{};
  auto s = kedge::state_for<vector>(vector(w.reward.size(), 0.0), schedule);
  course found{};
  for (std::size_t t = 1; t <= w.rounds; ++t) {
    (void)kedge::run(s, schedule, problem, t);
    found.gaps.push_back(reward_gap(s.theta, w.reward));
  }
  found.end = s.theta;
  found.last_step = problem.last_step;
  return found;
}

struct rivals {
  std::vector<std::pair<std::string, course>> all;  // APO first, then plain, beta, rate, both, …
  [[nodiscard]] course const& operator[](std::size_t i) const { return all[i].second; }
};
enum rival { apo, plain, by_beta, by_rate, by_both };

template <class Optimizer>
rivals compare(world const& w, Optimizer const& optimizer, std::size_t steps) {
  constant_momentum const rule{w.alpha};
  auto null = [&](null_kind kind) {
    auto const n = effective_baseline(rule, w.rounds, optimizer, kind);
    return follow(w, hand_off{}, w.beta * n.factors.beta, n.optimizer, steps);
  };
  rivals found;
  found.all = {{"APO", follow(w, constant{rule}, w.beta, optimizer, steps)},
               {"plain rounds", follow(w, hand_off{}, w.beta, optimizer, steps)},
               {"null: beta alone", null(null_kind::beta)},
               {"null: rate alone", null(null_kind::rate)},
               {"null: both", null(null_kind::both)}};
  if constexpr (std::is_same_v<Optimizer, sgd>)
    found.all.emplace_back("heavy ball, one reference, beta / T", without_anchor(w, optimizer.rate, steps));
  else {
    found.all.emplace_back("plain rounds, Adam's state kept", follow(w, hand_off{}, w.beta, optimizer, steps, true));
    found.all.emplace_back("APO, Adam's state kept", follow(w, constant{rule}, w.beta, optimizer, steps, true));
  }
  return found;
}

double relative(vector const& x, vector const& y) { return max_difference(x, y) / max_difference(x, vector(x.size(), 0.0)); }

std::size_t const step_grid[] = {1, 4, 12, 48, 256, 1024};
double const rate_grid[] = {0.25, 1, 4};

// Final gaps over the grid of K at each rate, claims on all of them.
template <class Optimizer>
void over_grid(world const& w, Optimizer const& optimizer, std::string const& name, outcome& result) {
  double largest = 0, solved = 0;
  bool any_solved = false;
  for (double const factor : rate_grid) {
    Optimizer scaled = optimizer;
    scaled.rate *= factor;
    plot p{"Final reward gap, " + name + ", rate " + text(scaled.rate), "inner steps K of a round", "reward gap"};
    vector const ks(std::begin(step_grid), std::end(step_grid));
    for (std::size_t const k : step_grid) {
      rivals const found = compare(w, scaled, k);
      for (std::size_t m = 0; m < found.all.size(); ++m) {
        if (p.curves.size() <= m)
          p.curves.push_back({found.all[m].first, {}, m == by_both ? line::exact : line::measured, ks, {}, {}});
        p.curves[m].y.push_back(std::max(1e-17, found[m].gaps.back()));
      }
      largest = std::max(largest, relative(found[apo].end, found[by_both].end));
      if (found[apo].last_step < 1e-12 && found[by_beta].last_step < 1e-12) {
        any_solved = true;
        solved = std::max(solved, relative(found[apo].end, found[by_beta].end));
      }
    }
    if (factor == 1)
      for (curve const& c : p.curves) result.series.emplace_back(name + ", by K: " + c.name, c.y);
    result.plots.push_back(std::move(p));
  }
  result.near("largest relative distance of APO from both, " + name + ", all K and rates", 0, largest, 1e-12);
  if constexpr (std::is_same_v<Optimizer, sgd>) {  // Adam at a constant rate doesn't settle
    result.given(any_solved, "a round that is solved to 1e-12 in 1024 steps");
    result.near("largest relative distance of APO from beta alone where rounds are solved, " + name, 0, solved, 1e-9);
    result.given_all();
  }
}

template <class Optimizer>
void at_options(world const& w, Optimizer const& optimizer, std::size_t steps, std::string const& name, outcome& result) {
  rivals const found = compare(w, optimizer, steps);
  plot p{"Reward gap, " + name + ", K = " + std::to_string(steps) + ", rate " + text(optimizer.rate), "gradient steps in all",
         "reward gap", false};
  vector const xs = by_round(w.rounds, [&](std::size_t t) { return static_cast<double>(t * steps); });
  for (std::size_t m = 0; m < found.all.size(); ++m) {
    p.curves.push_back({found.all[m].first, found[m].gaps, m == by_both ? line::exact : line::measured, xs, {}, {}});
    result.series.emplace_back(name + ": " + found.all[m].first, found[m].gaps);
  }
  result.plots.push_back(std::move(p));
  result.near("relative distance of APO from both, " + name + ", K = " + std::to_string(steps), 0,
              relative(found[apo].end, found[by_both].end), 1e-12);
  result.given(w.alpha > 0 && w.rounds > 1, "momentum: alpha > 0 and two rounds");
  result.given(w.alpha > 0 && w.rounds > 1 && found[apo].last_step > 1e-6, "rounds that are not solved, and momentum");
  result.above("relative distance of APO from beta alone, " + name, 1e-3, relative(found[apo].end, found[by_beta].end));
  result.above("relative distance of APO from rate alone, " + name, 1e-3, relative(found[apo].end, found[by_rate].end));
  result.given_all();
}

outcome inexact_rounds(arguments const& a) {
  outcome result;
  std::size_t const arms = a.count("arms", 2), steps = a.count("steps");
  std::mt19937_64 generator(a.count("seed"));
  vector const reward = random_reward(arms, generator);
  vector const uniform(arms, 1 / static_cast<double>(arms));
  world const w{reward, population_comparisons(uniform, bradley_terry(reward)), a.number("alpha", 0, 1), a.positive("beta"),
                a.count("rounds")};
  if (w.alpha == 1) throw usage_error("--alpha 1: it must be below 1");
  sgd const descent{a.positive("rate")};
  adam const moments{.rate = a.positive("adam-rate")};
  at_options(w, descent, steps, "gradient descent", result);
  at_options(w, moments, steps, "Adam", result);
  over_grid(w, descent, "gradient descent", result);
  over_grid(w, moments, "Adam", result);
  double const ratio = effective_baseline(constant_momentum{w.alpha}, w.rounds, descent).ratio;
  result.notes = {"r = beta / beta_eq = " + text(ratio) + ": both is beta / r with " + text(ratio * ratio) +
                      " times the rate for gradient descent, " + text(ratio) + " times for Adam.",
                  "The pairs are the same in every round, as the theorem asks: the rounds then go on past the optimum of the "
                  "first one without a new sample. "
                  "null-premises breaks its conditions one by one."};
  return result;
}

}  // namespace

std::vector<experiment> null_experiments() {
  using namespace kedge::lab::drawing::mathml;
  return {
      {"inexact-rounds",
       "Rounds that are not solved: APO is plain rounds with another beta and another rate",
       "With K inner steps of gradient descent APO equals plain rounds with beta_eq and the rate times (beta/beta_eq)^2; with "
       "Adam begun anew each round, with "
       "beta_eq and the rate times beta/beta_eq: for every K and every rate, to rounding. Beta alone is right where rounds are "
       "solved, the rate alone where "
       "they are hardly begun; in between APO beats both, and equals both together.",
       {{"alpha", "0.5", "constant momentum"},
        {"beta", "1", "weight of the KL term"},
        {"arms", "10", "arms"},
        {"rounds", "8", "rounds"},
        {"steps", "48", "inner steps K of a round, for the plots against gradient steps"},
        {"rate", "4", "of gradient descent"},
        {"adam-rate", "0.05", "of Adam"},
        option_seed},
       inexact_rounds,
       row(i("β") + o("→") + over(i("β"), i("r"))) + o(",") + row(i("η") + o("→") + i("η") + sup(i("r"), n("2"))) +
           words(" or ") + i("η") + i("r") + o(",") + i("r") + o("=") + over(sub(i("C"), i("T")), i("T"))},
  };
}

}  // namespace kedge_lab
