// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/lab.hpp>

#include "../drawing/plot.hpp"

namespace kedge_lab {

using kedge::lab::vector;
using kedge_drawing::curve, kedge_drawing::line, kedge_drawing::plot, kedge_drawing::text;

/// Wrong use of the program: one line, exit code 2.
class usage_error : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

struct option {
  std::string name, value, help;  // value: the default
};

/// The values of an experiment's options, by name.
class arguments {
 public:
  explicit arguments(std::vector<option> const& options) {
    for (option const& o : options) values_[o.name] = o.value;
  }
  /// throws  usage_error for a name the experiment doesn't have
  void set(std::string const& name, std::string const& value);
  [[nodiscard]] double number(std::string const& name) const;
  [[nodiscard]] std::size_t count(std::string const& name) const;  // at least 1
  [[nodiscard]] std::string word(std::string const& name, std::vector<std::string> const& choices) const;
  [[nodiscard]] std::map<std::string, std::string> const& all() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

/// One thing that should hold, with what was expected and what was measured.
struct check {
  std::string what;
  double expected, measured;
  std::string relation;  // "= 1e-10" (within), "<", ">"
  bool holds;
};

struct outcome {
  std::vector<std::pair<std::string, vector>> series{};  // per round, t = 1 …
  std::string fitted{};                                  // what the fit is of
  kedge::lab::line_fit fit{std::nan(""), std::nan(""), std::nan("")};
  std::vector<check> checks{};
  std::vector<plot> plots{};
  std::vector<std::string> notes{};

  void near(std::string what, double expected, double measured, double tolerance) {
    checks.push_back({std::move(what), expected, measured, "= " + kedge::detail::text(tolerance),
                      std::abs(measured - expected) <= tolerance});
  }
  void below(std::string what, double bound, double measured) {
    checks.push_back({std::move(what), bound, measured, "<", measured < bound});
  }
  void above(std::string what, double bound, double measured) {
    checks.push_back({std::move(what), bound, measured, ">", measured > bound});
  }
  [[nodiscard]] bool holds() const {
    for (check const& c : checks)
      if (!c.holds) return false;
    return true;
  }
};

struct experiment {
  std::string name, title, claim;  // claim: what is expected and why, in a few sentences
  std::vector<option> options;
  outcome (*run)(arguments const&);
};

/// All experiments, in the order of the report.
[[nodiscard]] std::vector<experiment> const& experiments();
std::vector<experiment> bandit_experiments(), game_experiments(), fit_experiments(), sdpo_experiments(), salsa_experiments();

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

// output.cpp
[[nodiscard]] std::string to_json(experiment const&, arguments const&, outcome const&);
[[nodiscard]] std::string to_text(experiment const&, arguments const&, outcome const&);
// report.cpp
struct finished {
  experiment const* what;
  arguments settings;
  outcome result;
  double seconds;
};
[[nodiscard]] std::string to_html(std::vector<finished> const&);

}  // namespace kedge_lab
