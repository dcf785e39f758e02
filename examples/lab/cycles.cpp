// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <complex>
#include <random>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

// A cyclic game, from random starts. Near the uniform policy a round is linear: what it multiplies distances by is known.

using complex = std::complex<double>;

struct method {
  std::string name;
  double alpha = 0;
  mirror_step step{};
  bool moves = false;  // the magnet, every `every` rounds
  double weight = 0;   // of the moving magnet
  std::size_t every = 50;
  double factor = 0;  // of the distance from the equilibrium, a round, by linearisation
};

// The rewards' derivative at the uniform policy turns by a right angle: eigenvalues ±iω, ω = (2P − 1)/2 · √3/3 with P = 0.9.
double const omega = 0.4 * std::sqrt(3.0) / 3;

// Larger modulus of the two roots of x² − b x + c.
double larger_root(complex b, complex c) {
  complex const root = std::sqrt(b * b - 4.0 * c);
  return std::max(std::abs((b + root) / 2.0), std::abs((b - root) / 2.0));
}

double plain_factor(double eta, double alpha) {
  complex const turn(1, eta * omega);
  return larger_root((1 + alpha) * turn, alpha * turn);
}
double optimistic_factor(double eta) { return larger_root(complex(1, 2 * eta * omega), complex(0, eta * omega)); }

vector duality_gaps(method const& m, vector const& start, std::size_t rounds) {
  preference_game const game = rock_paper_scissors();
  mirror_problem<vector, preference_game> problem(game, start, m.step);
  auto gap = [&](vector const& logits) { return game.duality_gap(softmax(logits)); };
  if (!m.moves) return trajectory(constant{{m.alpha}}, problem, start, rounds, gap);
  return trajectory(moving_magnet{.weight = m.weight, .k = m.every}, problem, start, rounds, gap);
}

std::vector<method> methods_of(double alpha, double eta, double magnet, std::size_t every) {
  double const pulled = eta / (1 + eta * magnet), weight = eta * magnet / (1 + eta * magnet);
  return {{"none", 0, {.eta = eta}, false, 0, every, plain_factor(eta, 0)},
          {"constant", alpha, {.eta = eta}, false, 0, every, plain_factor(eta, alpha)},
          {"optimism", 0, {.eta = eta, .optimism = 1}, false, 0, every, optimistic_factor(eta)},
          {"extragradient", 0, {.eta = eta, .magnet = magnet, .extragradient = true}, false, 0, every, 0},
          {"moving-magnet", 0, {.eta = pulled}, true, weight, every, std::abs(complex(1, eta * omega)) / (1 + eta * magnet)},
          {"functional", alpha, {.eta = eta, .reward_at_result = true}, false, 0, every, 0}};
}

double largest(vector const& values, std::size_t from, std::size_t to) {
  double found = 0;
  for (std::size_t t = std::max<std::size_t>(from, 1); t <= to && t <= values.size(); ++t)
    found = std::max(found, values[t - 1]);
  return found;
}

// The largest gap of the last 60 rounds up to each round: iterates go round, this doesn't.
vector running_max(vector const& gaps) {
  return by_round(gaps.size(), [&](std::size_t t) { return std::max(1e-17, largest(gaps, t > 60 ? t - 60 : 1, t)); });
}

// Rounds per turn of the linearised game, at least one.
double turn_of(double eta) { return std::max(2.0, 2 * 3.141592653589793 / std::atan(eta * omega)); }

struct late_gaps {
  double last, middle;  // largest of the last tenth, and of a tenth in the middle
};

struct found {
  std::vector<method> methods;
  std::vector<std::vector<late_gaps>> late;  // [method][seed]
};

void judge_growth(arguments const& a, found const& f, double alpha, double eta, std::size_t rounds, outcome& result) {
  auto least = [&](std::size_t m, auto const& value) {
    double smallest = 1e300;
    for (std::size_t seed = 0; seed < f.late[m].size(); ++seed) smallest = std::min(smallest, value(f.late[m][seed], seed));
    return smallest;
  };
  bool const long_enough = static_cast<double>(rounds) > 10 * turn_of(eta);
  std::string const more = "rounds for 10 turns of the cycle, " + text(std::ceil(10 * turn_of(eta)));
  result.given(long_enough, more);
  result.above("smallest gap over starts of the last tenth of the rounds, plain", 0.05,
               least(0, [](late_gaps g, std::size_t) { return g.last; }));
  result.given(long_enough && alpha > 0, more + ", and alpha > 0");
  result.above("the same with constant momentum minus plain: smallest over starts", 0,
               least(1, [&](late_gaps g, std::size_t seed) { return g.last - f.late[0][seed].last; }));
  double const optimistic = f.methods[2].factor;
  result.given(long_enough && optimistic < 1, more + ", and eta * omega < 1/sqrt(3), beta > " + text(omega * std::sqrt(3.0)) +
                                                  "; beta = " + a.all().at("beta"));
  result.above("largest gap in the middle minus that of the last tenth, optimism: smallest over starts", 0,
               least(2, [](late_gaps g, std::size_t) { return g.middle - g.last; }));
  double const moving = f.methods[4].factor, per_move = std::pow(moving, static_cast<double>(f.methods[4].every));
  result.given(long_enough && moving < 1 && per_move < 0.9 && rounds >= 10 * f.methods[4].every,
               more + ", ten moves of the magnet, and steps small enough for it: (eta omega)^2 < 2 eta m + (eta m)^2");
  result.above("gap of optimism over that of the magnet that moves, last tenth: smallest over starts", 1,
               least(4, [&](late_gaps g, std::size_t seed) { return f.late[2][seed].last / std::max(1e-16, g.last); }));
  result.given_all();
}

// The factor a round near the equilibrium, measured from a start that is close to it.
void judge_factors(found const& f, double eta, outcome& result) {
  for (std::size_t const m : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {
    vector const gaps = duality_gaps(f.methods[m], {1e-7, 0, -1e-7}, 3000);
    auto const window = static_cast<std::size_t>(std::ceil(2 * turn_of(eta)));
    std::size_t const to = 3 * window + 200;
    result.given(to <= 2900 && largest(gaps, 1, to) < 1e-3 && largest(gaps, to - window, to) > 1e-14,
                 "a start close to the equilibrium that stays close; a smaller step");
    double const factor = std::pow(largest(gaps, to - window + 1, to) / largest(gaps, to - 2 * window + 1, to - window),
                                   1 / static_cast<double>(window));
    result.near("factor of the gap a round near the equilibrium, " + f.methods[m].name, f.methods[m].factor, factor,
                2e-4 * f.methods[m].factor);
    result.given_all();
  }
}

outcome cyclic(arguments const& a) {
  outcome result;
  std::string const shown =
      a.word("momentum", {"none", "constant", "optimism", "extragradient", "moving-magnet", "functional"});
  double const alpha = a.number("alpha"), eta = 1 / a.positive("beta"), magnet = a.number("magnet", 0, a.number("beta"));
  std::size_t const rounds = a.count("rounds"), seeds = a.count("seeds", 2), every = a.count("every");
  found f{methods_of(alpha, eta, magnet, every), {}};
  plot p{"Duality gap, largest of the last 60 rounds, mean over " + std::to_string(seeds) + " starts", "round t",
         "duality gap"};
  double biased = 0;
  for (method const& m : f.methods) {
    std::vector<vector> all;
    f.late.emplace_back();
    for (std::size_t seed = 0; seed < seeds; ++seed) {
      std::mt19937_64 generator(a.count("seed") + seed);
      vector const start = normal_vector(3, a.number("spread", 0, 20, true), generator), gaps = duality_gaps(m, start, rounds);
      f.late.back().push_back(
          {largest(gaps, rounds - rounds / 10, rounds), largest(gaps, rounds / 2 - rounds / 10, rounds / 2)});
      if (seed == 0) result.series.emplace_back(m.name == shown ? "duality_gap" : "duality_gap_" + m.name, gaps);
      if (m.name == "extragradient") {
        mirror_problem<vector, preference_game> problem(rock_paper_scissors(), start, m.step);
        auto s = kedge::state_for<vector>(start, hand_off{}, problem);
        (void)kedge::run(s, hand_off{}, problem, rounds);
        vector fixed = rock_paper_scissors()(s.theta);
        axpby(1, start, magnet > 0 ? 1 / magnet : 0, fixed);
        biased = std::max(biased, max_difference(centered(fixed), centered(s.theta)));
      }
      all.push_back(running_max(gaps));
    }
    curve c = averaged(m.name == "constant" || m.name == "functional" ? m.name + ", alpha = " + text(alpha) : m.name, all);
    p.curves.push_back(std::move(c));
  }
  judge_growth(a, f, alpha, eta, rounds, result);
  judge_factors(f, eta, result);
  result.given(magnet > 0 && eta * omega < 0.7 && std::pow(1 / (1 + eta * magnet), static_cast<double>(rounds)) < 1e-8,
               "a magnet, a small step, and rounds for 1e-8");
  result.near("extragradient: distance over starts from the equilibrium with its KL term, theta = start + rewards / m", 0,
              biased, 1e-5);
  result.given_all();
  result.plots = {p};
  result.notes = {
      "Three arms that beat each other in a cycle have the uniform policy as only equilibrium. Plain rounds spiral away from "
      "it, momentum makes them spiral "
      "faster; optimism spirals in where the step is small enough, and a magnet that moves to where the rounds have arrived is "
      "far faster. Where preferences may be "
      "cyclic, use one of the two."};
  return result;
}

}  // namespace

std::vector<experiment> cycle_experiments() {
  using namespace kedge::lab::drawing::mathml;
  return {
      {"rock-paper-scissors",
       "Cyclic preferences, from random starts: momentum diverges, optimism and a moving magnet converge",
       "Without a dominant arm the theory of momentum does not apply, and it fails visibly: the duality gap grows with alpha. "
       "Near the equilibrium a round "
       "multiplies the distance by a known factor: above 1 for plain rounds and momentum, below 1 for optimism if its step is "
       "small enough. A magnet that moves "
       "every few rounds (MPO, COMAL) converges faster than optimism.",
       {{"momentum", "constant", "none, constant, optimism, extragradient, moving-magnet or functional: the first series"},
        {"alpha", "0.3", "constant momentum"},
        {"beta", "5", "1/beta is the step size"},
        {"magnet", "0.05", "weight m of the KL term to the magnet"},
        {"every", "50", "rounds from one move of the magnet to the next"},
        {"rounds", "2000", "rounds"},
        {"spread", "0.3", "standard deviation of the start's logits"},
        option_seed,
        option_seeds("10")},
       cyclic,
       o("|") + n("1") + o("+") + i("i") + i("η") + i("ω") + o("|") + o(">") + n("1") + o(",") + i("ω") + o("=") +
           over(row(n("2") + i("P") + o("−") + n("1")), n("2") + element("msqrt", n("3")))},
  };
}

}  // namespace kedge_lab
