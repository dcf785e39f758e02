// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include <kedge/state.hpp>

// Adaptive restart: observers that begin momentum anew when it carries the wrong way.             O'Donoghue and Candès 2015

namespace kedge {

/// Restarts when `worse_is_more(state)` grows from one round to the next: a duality gap, a loss, a negated reward.
template <class Objective>
struct restart_when_worse {
  Objective worse_is_more;
  double last = std::numeric_limits<double>::max();
  std::size_t restarts = 0;

  static constexpr auto parts =
      std::tuple{part{"last", &restart_when_worse::last}, part{"restarts", &restart_when_worse::restarts}};

  template <class State>
  void on_round_end(State& s) {
    double const now = worse_is_more(std::as_const(s));
    if (now > last) {
      restart(s);
      ++restarts;
    }
    last = now;
  }
};

template <class Objective>
restart_when_worse(Objective) -> restart_when_worse<Objective>;

/// Restarts when a round goes against the momentum: ⟨start − θ̂_{t+1}, θ̂_{t+1} − θ̂_t⟩ > 0. For schedules that look back.
/// cost    one more copy of a point, three dot products a round
template <tensor P>
struct restart_on_turn {
  std::optional<P> start;
  std::size_t restarts = 0;

  static constexpr auto parts =
      std::tuple{part{"start", &restart_on_turn::start}, part{"restarts", &restart_on_turn::restarts}};

  template <class State, class Data>
  void on_round_start(State const& s, Data const&) {
    start = deep_copy(s.theta);
  }
  template <class State>
  void on_round_end(State& s) {
    if (!s.previous || !start) return;
    double const against = dot(*start, s.theta) - dot(*start, *s.previous) - dot(s.theta, s.theta) + dot(s.theta, *s.previous);
    if (against <= 0) return;
    restart(s);
    ++restarts;
  }
};

}  // namespace kedge
