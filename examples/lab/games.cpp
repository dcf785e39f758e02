// SPDX-License-Identifier: Apache-2.0
#include "experiment.hpp"

namespace kedge_lab {
namespace {

using namespace kedge;
using namespace kedge::lab;
using kedge::lab::vector;

double largest(vector const& values, std::size_t from, std::size_t to) {
  double found = 0;
  for (std::size_t t = from; t <= to && t <= values.size(); ++t) found = std::max(found, values[t - 1]);
  return found;
}

vector missed(double alpha, double beta, std::size_t rounds) {
  mirror_problem<vector, preference_game> problem(dominant_arm_game(), vector(4, 0.0), {.eta = 1 / beta});
  return trajectory(constant{{alpha}}, problem, vector(4, 0.0), rounds, [](vector const& logits) {
    vector const p = softmax(logits);
    return p[1] + p[2] + p[3];
  });
}

outcome dominant_arm(arguments const& a) {
  outcome result;
  double const alpha = a.number("alpha"), beta = a.number("beta");
  std::size_t const rounds = a.count("rounds");
  vector const misses = missed(alpha, beta, rounds);
  result.series = {{"tv", misses}};
  plot p{"Probability of the arms that lose to the dominant one", "round t", "total variation", false};
  if (rounds >= 20) {
    result.fit = fit_exponential(misses, rounds - rounds / 4, rounds);
    result.fitted = "tv ~ exp(slope t), last quarter of the rounds";
  }
  p.curves = {{"measured, chosen momentum: slope " + text(result.fit.slope), misses}};
  for (auto const& [other, after, slope] : {std::tuple{0.0, 7.6e-2, -0.06}, {0.3, 1.8e-2, -0.0857}, {0.6, 4.6e-4, -0.15}}) {
    vector const ys = missed(other, 5, 200);
    std::string const name = "alpha = " + text(other) + ", beta = 5";
    result.near("tv after 60 rounds, " + name, after, ys[59], 0.02 * after);
    result.near("slope per round, " + name, slope, fit_exponential(ys, 150, 200).slope, 1e-3);
    p.curves.push_back({name, ys});
    vector line_through;
    for (std::size_t t = 1; t <= 200; ++t) line_through.push_back(ys[199] * std::exp(slope * (static_cast<double>(t) - 200)));
    p.curves.push_back({"slope -0.3 / (beta (1 - alpha)), alpha = " + text(other), line_through, line::exact});
  }
  result.plots = {p};
  return result;
}

struct method {
  std::string name;
  double alpha;
  mirror_step step;
};

vector duality_gaps(method const& m, std::size_t rounds) {
  preference_game const game = rock_paper_scissors();
  vector const start{0.3, 0, -0.2};
  mirror_problem<vector, preference_game> problem(game, start, m.step);
  return trajectory(constant{{m.alpha}}, problem, start, rounds,
                    [&](vector const& logits) { return game.duality_gap(softmax(logits)); });
}

// The largest gap of the last 60 rounds up to each round: iterates go round, this doesn't.
vector running_max(vector const& gaps) {
  vector worst;
  for (std::size_t t = 1; t <= gaps.size(); ++t) worst.push_back(largest(gaps, t > 60 ? t - 60 : 1, t));
  return worst;
}

outcome cyclic(arguments const& a) {
  outcome result;
  std::string const momentum = a.word("momentum", {"none", "constant", "optimism", "extragradient", "functional"});
  double const alpha = a.number("alpha"), eta = 1 / a.number("beta");
  std::size_t const rounds = a.count("rounds");
  std::vector<method> const methods{
      {"none", 0, {.eta = eta}},
      {"constant", alpha, {.eta = eta}},
      {"optimism", 0, {.eta = eta, .optimism = 1}},
      {"extragradient", 0, {.eta = eta, .magnet = 0.05, .extragradient = true}},
      {"functional", alpha, {.eta = eta, .reward_at_result = true}},
  };
  plot p{"Duality gap, largest of the last 60 rounds", "round t", "duality gap"};
  for (method const& m : methods) {
    vector const gaps = duality_gaps(m, rounds);
    if (m.name == momentum) result.series.insert(result.series.begin(), {"duality_gap", gaps});
    p.curves.push_back(
        {m.name == "constant" || m.name == "functional" ? m.name + ", alpha = " + text(alpha) : m.name, running_max(gaps)});
  }
  auto late = [&](double other, mirror_step step) { return largest(duality_gaps({"", other, step}, 2000), 1801, 2000); };
  result.near("largest gap of rounds 1801 … 2000, alpha = 0, beta = 5", .570, late(0, {.eta = .2}), 5e-4);
  result.near("the same, alpha = 0.3", .772, late(.3, {.eta = .2}), 5e-4);
  result.near("the same, alpha = 0.6", .800, late(.6, {.eta = .2}), 5e-4);
  result.near("the same, optimism", .0193, late(0, {.eta = .2, .optimism = 1}), 5e-5);
  result.near("the same, extragradient with KL weight 0.05 (the bias of its equilibrium)", .0259,
              late(0, {.eta = .2, .magnet = .05, .extragradient = true}), 5e-5);
  result.plots = {p};
  result.notes = {
      "Three arms that beat each other in a cycle have the uniform policy as only equilibrium. Plain iterations spiral away "
      "from "
      "it, momentum makes them spiral faster, optimism (OMWU, ONPO) spirals in. Where preferences may be cyclic, use "
      "optimism."};
  return result;
}

}  // namespace

std::vector<experiment> game_experiments() {
  option const beta{"beta", "5", "1/beta is the step size"}, alpha{"alpha", "0.3", "constant momentum"};
  return {
      {"dominant-arm",
       "General preferences with a dominant arm: momentum helps",
       "One arm beats every other with probability 0.8, the others beat each other in a cycle. Exact rounds converge "
       "exponentially, at the "
       "rate 0.3 / (beta (1 - alpha)).",
       {alpha, beta, {"rounds", "200", "rounds"}},
       dominant_arm},
      {"rock-paper-scissors",
       "Cyclic preferences: momentum diverges, optimism converges",
       "Without a dominant arm the theory of momentum does not apply, and it fails visibly: the duality gap grows with alpha. "
       "Optimism, which "
       "extrapolates the reward and not the policy, converges.",
       {{"momentum", "constant", "none, constant, optimism, extragradient or functional"},
        alpha,
        beta,
        {"rounds", "2000", "rounds"}},
       cyclic},
  };
}

}  // namespace kedge_lab
