// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// General preferences with a dominant arm, from random starts: there the game is no reward in disguise.

vector missed(double alpha, double beta, vector const& start, std::size_t rounds) {
  mirror_problem<vector, preference_game> problem(dominant_arm_game(), start, {.eta = 1 / beta});
  return trajectory(constant{{alpha}}, problem, start, rounds, [](vector const& logits) {
    vector const p = softmax(logits);
    return p[1] + p[2] + p[3];
  });
}

vector ends(double alpha, double beta, vector const& start, std::size_t rounds) {
  mirror_problem<vector, preference_game> problem(dominant_arm_game(), start, {.eta = 1 / beta});
  auto s = kedge::state_for<vector>(start, constant{{alpha}}, problem);
  (void)kedge::run(s, constant{{alpha}}, problem, rounds);
  return softmax(s.theta);
}

outcome dominant_arm(arguments const& a) {
  outcome result;
  double const alpha = a.number("alpha"), beta = a.positive("beta"), spread = a.number("spread", 0, 20);
  std::size_t const rounds = a.count("rounds"), seeds = a.count("seeds", 2);
  double const against_all = 0.1, against_winner = 0.3;  // the game's gaps: assumption B.1's, and the one of the end
  auto gamma = [&](std::size_t t) { return accumulated_steps(constant_momentum{alpha}, t) / beta; };
  plot p{"Probability of the arms that lose to the dominant one, " + std::to_string(seeds) + " random starts", "round t", "total variation", false};
  double over_bound = 0, farthest_slope = 0;
  vector apart;
  std::size_t const from = rounds - rounds / 4;
  double const slope = -against_winner / (beta * (1 - alpha));
  double largest_late = 0, smallest_late = 1;
  for (std::size_t seed = 0; seed < seeds; ++seed) {
    std::mt19937_64 generator(a.count("seed") + seed);
    vector const start = normal_vector(4, spread, generator);
    double const p0 = softmax(start)[0];
    vector const tv = missed(alpha, beta, start, rounds);
    for (std::size_t t = 1; t <= rounds; ++t)
      if (double const bound = miss_bound(p0, against_all, gamma(t)); bound > 1e-250) over_bound = std::max(over_bound, tv[t - 1] / bound);
    if (rounds >= 40) {
      double const found = fit_exponential(tv, from, rounds).slope;
      farthest_slope = std::max(farthest_slope, std::abs(found / slope - 1));
      largest_late = std::max(largest_late, tv[from - 1]);
      smallest_late = std::min(smallest_late, tv.back());
    }
    std::size_t const early = std::min<std::size_t>(rounds, 20);
    apart.push_back(total_variation(ends(alpha, beta, start, early), ends(0, effective_beta(beta, constant_momentum{alpha}, early), start, early)));
    p.curves.push_back({seed == 0 ? "measured, one line a start" : "", tv, seed == 0 ? line::measured : line::thin, {}, {}, {}});
    if (seed == 0) result.series = {{"tv", tv}};
  }
  bool const in_theory = alpha >= 0 && alpha < 1;
  p.curves.push_back({"bound for the median start: (1-p)/p exp(-0.1 C_t / beta), p = 1/4", by_round(rounds, [&](std::size_t t) { return miss_bound(.25, against_all, gamma(t)); }), line::bound, {}, {}, {}});
  p.curves.push_back({"slope -0.3 / (beta (1 - alpha))", by_round(rounds, [&](std::size_t t) { return std::exp(slope * static_cast<double>(t)); }), line::exact, {}, {}, {}});
  result.series.emplace_back("apart_from_null_by_seed", apart);
  result.given(alpha >= 0, "alpha >= 0");
  result.below("largest tv / bound over starts and rounds; gap 0.1 against every opponent", 1 + 1e-9, over_bound);
  result.given(in_theory && rounds >= 40 && largest_late < 1e-3 && smallest_late > 1e-290 && std::pow(alpha, static_cast<double>(from)) < 1e-4,
               "0 <= alpha < 1 and rounds in which the dominant arm has all but 1e-3, above underflow; more or fewer --rounds");
  result.near("slope per round, largest relative distance from -0.3 / (beta (1 - alpha)) over starts", 0, farthest_slope, 5e-3);
  result.given(in_theory && alpha > 0 && spread > 0 && rounds > 2, "0 < alpha < 1 and starts that differ");
  result.mean_above("total variation between APO and its null baseline beta_eq after 20 rounds: a game is no reward", 0, apart);
  result.given_all();
  result.plots = {p};
  result.notes = {
      "From equal logits the three losing arms stay equal and the game is a Bradley-Terry problem of two levels; from other starts it isn't. The bound is the "
      "theorem's with its own exponent: a gap of 0.1 against every opponent gives log-ratios that grow by at least 0.1 / beta a step, and momentum adds up "
      "steps of one sign to C_t."};
  return result;
}

}  // namespace

std::vector<experiment> game_experiments() {
  using namespace kedge::lab::drawing::mathml;
  return {
      {"dominant-arm",
       "General preferences with a dominant arm, from random starts: momentum helps",
       "One arm beats every other with probability 0.8, the others beat each other in a cycle. From every start exact rounds converge exponentially, within "
       "the bound of the general-preference theorem, and in the end at the rate 0.3 / (beta (1 - alpha)). APO is no longer iterative DPO with another beta, "
       "because rewards depend on the policy.",
       {{"alpha", "0.3", "constant momentum"},
        {"beta", "5", "1/beta is the step size"},
        {"rounds", "300", "rounds"},
        {"spread", "1", "standard deviation of the start's logits"},
        option_seed,
        option_seeds("20")},
       dominant_arm,
       i("tv") + o("≤") + over(n("1") + o("−") + i("p"), i("p")) + sup(i("e"), o("−") + i("Δ") + sub(i("C"), i("t")) + o("/") + i("β"))},
  };
}

}  // namespace kedge_lab
