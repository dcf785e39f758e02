// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <kedge/momentum.hpp>
#include <kedge/soup.hpp>

// What the two extrapolating schedules share.

namespace kedge {

/// Points in which the model's weights are linear: θ̂ + α (θ̂ − θ̂′), written over θ̂′; θ̂ bit for bit with α = 0.
struct extrapolate_points {
  template <tensor P>
  void operator()(P const& now, double alpha, P& before) const {
    if (alpha == 0)
      axpby(1, now, 0, before);
    else
      extrapolate_over(now, alpha, before);
  }
};

namespace detail {

// α_t; 0 in the first round after a start or a restart, which has nothing to look back at.
template <class M, class State>
double current_alpha(M const& rule, State const& s) {
  if (s.round == s.restarted) return 0;
  if constexpr (reads_state<M, State>)
    return rule(s);
  else
    return rule(s.round - s.restarted);
}

// θ̂_t in theta and θ̂_{t−1} in previous become the extrapolated start in theta and θ̂_t in previous.
template <class Extrapolate, class State>
void throw_ahead(double alpha, Extrapolate const& extrapolate, State& s) {
  if (!s.previous) {
    s.previous = deep_copy(s.theta);
    return;
  }
  extrapolate(std::as_const(s.theta), alpha, *s.previous);
  std::swap(s.theta, *s.previous);
}

}  // namespace detail

}  // namespace kedge
