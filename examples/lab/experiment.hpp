// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/drawing/mathml.hpp>
#include <kedge/lab/harness/experiment.hpp>
#include <kedge/lab/lab.hpp>

// What the experiments of kedge-lab share.

namespace kedge_lab {

using namespace kedge;
using namespace kedge::lab;
using kedge::lab::vector;
using kedge::lab::drawing::curve, kedge::lab::drawing::line, kedge::lab::drawing::plot, kedge::lab::drawing::text;

std::vector<experiment> bandit_experiments(), null_experiments(), premise_experiments(), game_experiments(), cycle_experiments(),
    fit_experiments(), sdpo_experiments(), salsa_experiments(), proximal_experiments();

/// measure(θ̂_t) for t = 1 … rounds of the loop.
template <class Schedule, class Problem, class Measure>
vector trajectory(Schedule const& schedule, Problem& problem, vector start, std::size_t rounds, Measure const& measure) {
  auto s = kedge::state_for<vector>(std::move(start), schedule, problem);
  vector values;
  for (std::size_t t = 1; t <= rounds; ++t) {
    if (kedge::run(s, schedule, problem, t) != kedge::status::done) {
      values.resize(rounds, std::nan(""));  // divergence is a result
      break;
    }
    values.push_back(measure(s.theta));
  }
  return values;
}

using constant = kedge::extrapolated_weights<kedge::constant_momentum>;
using nesterov = kedge::extrapolated_weights<kedge::nesterov_momentum>;

/// f(rule) with the momentum that the options name.
template <class F>
auto with_momentum(arguments const& a, F const& f) {
  std::string const name = a.word("momentum", {"none", "constant", "nesterov"});
  if (name == "nesterov") return f(kedge::nesterov_momentum{3});
  return f(kedge::constant_momentum{name == "none" ? 0 : a.number("alpha")});
}

/// C_t of the options' momentum.
inline double steps(arguments const& a, std::size_t t) {
  return with_momentum(a, [t](auto const& rule) { return kedge::accumulated_steps(rule, t); });
}

/// n independent draws from N(0, scale²).
template <class Generator>
vector normal_vector(std::size_t n, double scale, Generator& generator) {
  std::normal_distribution<double> normal(0, scale);
  vector x(n);
  for (double& value : x) value = normal(generator);
  return x;
}

/// f(1), …, f(n).
template <class F>
vector by_round(std::size_t n, F const& f) {
  vector values;
  for (std::size_t t = 1; t <= n; ++t) values.push_back(f(t));
  return values;
}

/// |measured/exact − 1|: what a curve hides under its exact answer.
inline plot residual_plot(std::string const& what, vector const& measured, vector const& exact, bool log_x = true) {
  plot p{"Distance of " + what + " from the exact curve, relative", "round t", "|measured/exact − 1|", log_x, true};
  vector apart;
  for (std::size_t t = 0; t < measured.size(); ++t) apart.push_back(std::max(1e-17, std::abs(measured[t] / exact[t] - 1)));
  p.curves = {{"relative distance", apart}, {"rounding, 2.2e-16", vector(apart.size(), 2.2e-16), line::bound}};
  return p;
}

/// The mean of equally long series of several seeds, with 95 % intervals.
inline curve averaged(std::string name, std::vector<vector> const& seeds, vector x = {}) {
  curve c{std::move(name), {}, line::measured, std::move(x), {}, {}};
  for (std::size_t t = 0; t < seeds.at(0).size(); ++t) {
    vector at;
    for (vector const& one : seeds) at.push_back(one[t]);
    auto const [mean, low, high] = mean_interval(at);
    c.y.push_back(mean);
    c.low.push_back(low);
    c.high.push_back(high);
  }
  return c;
}

/// x − y, one by one.
inline vector minus(vector x, vector const& y) {
  axpby(-1, y, 1, x);
  return x;
}

inline option const option_seed{"seed", "1", "the first seed"};
inline option option_seeds(std::string count) { return {"seeds", std::move(count), "independent seeds, counted on from the first"}; }

}  // namespace kedge_lab
