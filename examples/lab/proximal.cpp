// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// The accelerated proximal point method on quadratics: rounds are exact, and known bounds hold round by round.

// f(θ) = ½ Σ λ_i θ_i², with a weight β_t of the proximal term in each round.
struct quadratic_rounds {
  vector curvature, betas;  // the last β goes on

  [[nodiscard]] double value(vector const& theta) const {
    double sum = 0;
    for (std::size_t i = 0; i < theta.size(); ++i) sum += curvature[i] * theta[i] * theta[i] / 2;
    return sum;
  }
  [[nodiscard]] double beta(std::size_t round) const { return betas[std::min(round, betas.size() - 1)]; }
  template <class State>
  vector const& source(State const&) const {
    return curvature;
  }
  [[nodiscard]] vector score(vector const& theta, vector const&) const { return theta; }
  status solve(vector& theta, vector const&, vector const& anchor, std::size_t round) const {
    for (std::size_t i = 0; i < theta.size(); ++i) theta[i] = anchor[i] * beta(round) / (curvature[i] + beta(round));
    return status::done;
  }
};

template <class Schedule, class Observer>
vector values(Schedule const& schedule, quadratic_rounds problem, std::size_t rounds, Observer&& watch) {
  auto s = kedge::state_for<vector>(vector(problem.curvature.size(), 1.0), schedule, problem);
  vector found;
  for (std::size_t t = 1; t <= rounds; ++t) {
    (void)kedge::run(s, schedule, problem, t, watch);
    found.push_back(problem.value(s.theta));
  }
  return found;
}

double largest_ratio(vector const& found, vector const& bound) {
  double largest = 0;
  for (std::size_t t = 0; t < found.size(); ++t) largest = std::max(largest, found[t] / bound[t]);
  return largest;
}

// Curvatures evenly spaced in the logarithm on [lowest, 1]: some mode is the slowest one at every t.
vector spaced_curvature(std::size_t n, double lowest) {
  return by_round(n, [&](std::size_t i) { return std::pow(lowest, static_cast<double>(n - i) / static_cast<double>(n - 1)); });
}

// t_t of Güler's sequence: f(θ̂_t) ≤ β_t R²/(2 t_t²).
vector guler_bound(quadratic_rounds const& of, double squared_distance, std::size_t rounds) {
  double t = 1;
  vector bound;
  for (std::size_t k = 0; k < rounds; ++k) {
    bound.push_back(of.beta(k) * squared_distance / (2 * t * t));
    t = (1 + std::sqrt(1 + 4 * t * t * of.beta(k + 1) / of.beta(k))) / 2;
  }
  return bound;
}

// f falls by fixed factors where its curvature has a positive floor; restarted momentum finds the rate by itself.
void strongly_convex(double beta, double floor_of, std::size_t rounds, outcome& result) {
  // One slowest mode, well apart from the others, so that it is alone in the second half of the rounds.
  double const second = std::min(1.0, 4 * floor_of);
  quadratic_rounds problem{spaced_curvature(39, second), {beta}};
  problem.curvature.push_back(floor_of);
  auto objective = [&](auto const& s) { return problem.value(s.theta); };
  using fista = extrapolated_weights<fista_momentum>;
  vector const plain = values(hand_off{}, problem, rounds, no_observer{});
  vector const kept = values(fista{}, problem, rounds, no_observer{});
  restart_when_worse by_value{objective};
  vector const restarted = values(fista{}, problem, rounds, by_value);
  double const kappa = 1 + beta / floor_of;
  vector const tuned = values(extrapolated_weights<strongly_convex_momentum>{{kappa}}, problem, rounds, no_observer{});
  plot p{"Strongly convex: curvature at least " + text(floor_of), "round t", "f", false};
  auto visible = [](vector v) {
    for (double& x : v) x = std::max(x, 1e-30);
    return v;
  };
  p.curves = {{"plain", visible(plain)},
              {"FISTA's momentum", visible(kept)},
              {"FISTA's, restarted where f grows", visible(restarted)},
              {"constant momentum of kappa", visible(tuned)}};
  result.series.insert(result.series.end(), {{"strongly_convex_plain", plain},
                                             {"strongly_convex_fista", kept},
                                             {"strongly_convex_restarted", restarted},
                                             {"strongly_convex_tuned", tuned}});
  std::size_t const from = rounds / 2;
  auto factor = [&](double curvature) { return std::pow(beta / (curvature + beta), 2); };
  double const others =
      std::pow(factor(second) / factor(floor_of), static_cast<double>(from));  // share of the other modes in f
  result.given((others < 1e-3 || second == floor_of) && plain.back() > 1e-290,
               "rounds in whose second half the slowest mode is alone, above underflow");
  result.near("factor of f a round, plain, against (1 - 1/kappa)^2", factor(floor_of),
              std::exp(fit_exponential(plain, from, rounds).slope), 1e-2 / kappa);
  result.given(static_cast<double>(rounds) > 12 * std::sqrt(kappa),
               "rounds for twelve times sqrt(kappa), " + text(12 * std::sqrt(kappa)));
  result.below("f after the last round with restarts, over FISTA's without", 1, restarted.back() / kept.back());
  result.below("f after the last round with restarts, over plain", 1, restarted.back() / plain.back());
  result.given_all();
  result.plots.push_back(p);
  result.notes.push_back("Restarts: " + std::to_string(by_value.restarts) + " in " + std::to_string(rounds) + " rounds.");
}

outcome accelerated_proximal_point(arguments const& a) {
  outcome result;
  std::size_t const rounds = a.count("rounds", 10), n = a.count("modes", 2);
  double const beta = a.positive("beta"), growth = a.positive("growth"), distance = static_cast<double>(n);
  quadratic_rounds const even{spaced_curvature(n, 1e-9), {beta}};
  quadratic_rounds uneven = even;
  for (std::size_t t = 1; t < rounds + 2; ++t) uneven.betas.push_back(uneven.betas.back() * growth);
  no_observer none;
  vector const plain = values(hand_off{}, even, rounds, none);
  vector const fista = values(extrapolated_weights<fista_momentum>{}, even, rounds, none);
  vector const guler = values(extrapolated_weights<guler_momentum>{{uneven.betas}}, uneven, rounds, none);
  vector const fixed = values(constant{{a.number("alpha")}}, even, rounds, none);
  vector const plain_bound = by_round(rounds, [&](std::size_t t) { return beta * distance / (2 * static_cast<double>(t)); });
  vector const fista_bound =
      by_round(rounds, [&](std::size_t t) { return 2 * beta * distance / std::pow(static_cast<double>(t + 1), 2); });
  vector const uneven_bound = guler_bound(uneven, distance, rounds);
  result.series = {{"plain", plain}, {"fista", fista}, {"guler", guler}, {"constant", fixed}};
  result.below("largest f / bound beta R^2 / (2 t), plain", 1 + 1e-12, largest_ratio(plain, plain_bound));
  result.below("largest f / bound 2 beta R^2 / (t + 1)^2, FISTA's momentum", 1 + 1e-12, largest_ratio(fista, fista_bound));
  result.below("largest f / bound beta_t R^2 / (2 t_t^2), Guler's momentum, a beta for each round", 1 + 1e-12,
               largest_ratio(guler, uneven_bound));
  std::size_t const from = rounds / 20;
  result.given(rounds >= 200 && beta >= 0.03 && beta <= 3 && n >= 40,
               "200 rounds, 40 modes, and beta from 0.03 to 3, so that modes of all curvatures between are seen");
  if (rounds >= 200) {
    result.fit = fit_power(plain, from, rounds);
    result.fitted = "plain: f ~ t^slope, t = " + std::to_string(from) + " … " + std::to_string(rounds);
    result.near("slope, plain", -1, result.fit.slope, 0.1);
    result.near("slope, FISTA's momentum", -2, fit_power(fista, from, rounds).slope, 0.2);
    result.given(rounds >= 200 && a.number("alpha") >= 0 && a.number("alpha") <= 0.9,
                 "0 <= alpha <= 0.9: the constant's own time is short");
    result.near("slope, constant momentum: the exponent stays", -1, fit_power(fixed, from, rounds).slope, 0.1);
  }
  result.given_all();
  plot p{"f at exact rounds, curvatures from 1e-9 to 1", "round t", "f"};
  p.curves = {{"plain", plain},
              {"constant momentum, alpha = " + text(a.number("alpha")), fixed},
              {"FISTA's momentum", fista},
              {"Guler's, beta times " + text(growth) + " each round", guler},
              {"bound, plain", plain_bound, line::bound},
              {"bound, FISTA", fista_bound, line::bound},
              {"bound, Guler", uneven_bound, line::bound}};
  result.plots = {p};
  strongly_convex(beta, a.number("floor", 0, 1, true), rounds, result);
  return result;
}

}  // namespace

std::vector<experiment> proximal_experiments() {
  using namespace kedge::lab::drawing::mathml;
  return {
      {"accelerated-proximal-point",
       "The classical accelerated proximal point method over the same loop",
       "On a convex quadratic exact rounds fall like 1/t; with FISTA's momentum like 1/t^2, with Guler's where every round has "
       "a beta of its own; all below the known "
       "bounds in every round. A constant momentum keeps the exponent. Where f is strongly convex, plain rounds fall by (1 - "
       "1/kappa)^2 a round, and momentum needs restarts.",
       {{"beta", "0.3", "weight of the proximal term"},
        {"growth", "0.99", "factor of beta from round to round, for Guler's sequence"},
        {"alpha", "0.6", "constant momentum"},
        {"modes", "80", "dimensions"},
        {"floor", "0.001", "smallest curvature of the strongly convex problem"},
        {"rounds", "1000", "rounds"}},
       accelerated_proximal_point,
       i("f") + o("≤") +
           over(n("2") + i("β") + sup(i("R"), n("2")), sup(row(o("(") + i("t") + o("+") + n("1") + o(")")), n("2")))},
  };
}

}  // namespace kedge_lab
