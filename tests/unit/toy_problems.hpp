// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/kedge.hpp>
#include <kedge/lab/tabular.hpp>

#include "support/catch.hpp"

// Problems of two or three numbers, whose rounds have closed forms.

namespace kedge::testing {

using kedge::lab::vector;

template <class Schedule = hand_off>
auto begin(vector start, Schedule const& schedule = {}) {
  return state_for<vector>(std::move(start), schedule);
}

// A round of gradient steps on ½‖θ − target_t‖² + ½‖θ − reference‖², which can be stopped at any step.
struct pulled {
  std::vector<vector> targets;
  std::size_t steps = 8;
  std::size_t stop_after = 0;  // 0: never
  std::size_t taken = 0;       // steps of the open round
  std::size_t scored = 0;

  vector const& source(auto const& s) const { return targets[s.round]; }
  vector score(vector const& theta, vector const&) {
    ++scored;
    return theta;
  }
  status solve(vector& theta, vector const& target, vector const& reference, std::size_t) {
    while (taken < steps) {
      for (std::size_t i = 0; i < theta.size(); ++i) theta[i] -= 0.3 * ((theta[i] - target[i]) + (theta[i] - reference[i]));
      ++taken;
      if (stop_after != 0 && --stop_after == 0) return status::stopped;
    }
    taken = 0;
    return status::done;
  }
};

inline std::vector<vector> const targets{{1, 2}, {-3, 0.5}, {0.7, 0.1}, {4, -4}};

template <class Schedule>
vector result_of(Schedule const& schedule) {
  pulled problem{targets};
  auto s = begin({0.2, 0.3}, schedule);
  REQUIRE(run(s, schedule, problem, targets.size()) == status::done);
  return s.theta;
}

// Proximal point on ½ Σ k_i x_i² with steps 1/β: θ̂ = β anchor / (β + k).
struct quadratic {
  vector k;
  double beta = 1;
  int source(auto const&) const { return 0; }
  vector score(vector const& theta, int) const { return theta; }
  status solve(vector& theta, int, vector const& anchor, std::size_t) const {
    for (std::size_t i = 0; i < k.size(); ++i) theta[i] = beta * anchor[i] / (beta + k[i]);
    return status::done;
  }
  [[nodiscard]] double value(vector const& theta) const {
    double sum = 0;
    for (std::size_t i = 0; i < k.size(); ++i) sum += k[i] * theta[i] * theta[i] / 2;
    return sum;
  }
};

// A quarter of a turn in the plane: it doesn't expand distances, and its iterates go round for ever.
struct quarter_turn {
  int source(auto const&) const { return 0; }
  vector score(vector const& theta, int) const { return theta; }
  status solve(vector& theta, int, vector const& anchor, std::size_t) const {
    theta = {-anchor[1], anchor[0]};
    return status::done;
  }
};

}  // namespace kedge::testing
