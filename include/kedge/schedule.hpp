// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <kedge/momentum.hpp>
#include <kedge/reference.hpp>
#include <kedge/soup.hpp>

namespace kedge {

/// One term λ log π_θ of an anchor in log space.
template <tensor P>
struct anchor_term {
  double weight;
  P point;
};

/// Everything a run is, between two calls: own it, copy it with copy(), print it, save it, go on from it.
/// Copying with `=` copies points as their type does, and some types alias.
template <tensor P, tensor L>
struct state {
  explicit state(P start) : theta(std::move(start)) {}

  P theta;                             ///< θ̂_t between rounds, the iterate inside one
  std::optional<P> previous;           ///< inside round t: θ̂_t; between rounds: θ̂_{t−1}. Only if the schedule looks back
  std::vector<anchor_term<P>> anchor;  ///< log π_anchor = Σ λ_j log π_{θ_j}; empty: the point the round started from
  std::size_t round = 0;               ///< rounds completed
  std::size_t epoch = 0;               ///< how often the anchor has moved
  bool in_round = false;               ///< theta is an iterate, not a result
  std::optional<reference<L>> cached;  ///< the running round's reference, scored on its data
  std::size_t restarted = 0;           ///< the round after which momentum began anew; see restart()
  std::vector<P> memory;               ///< points that a schedule keeps for itself from round to round

  /// All points with storage of their own.
  [[nodiscard]] state copy() const {
    state twin(deep_copy(theta));
    if (previous) twin.previous = deep_copy(*previous);
    for (auto const& term : anchor) twin.anchor.push_back({term.weight, deep_copy(term.point)});
    for (P const& point : memory) twin.memory.push_back(deep_copy(point));
    twin.round = round;
    twin.epoch = epoch;
    twin.in_round = in_round;
    twin.restarted = restarted;
    if (cached) twin.cached.emplace(deep_copy(cached->at(cached->epoch())), cached->epoch());
    return twin;
  }
};

/// Momentum begins anew: the next round starts at θ̂_t itself, and the rule counts rounds from here.
/// Call it between rounds, or from an observer's on_round_end.
template <class State>
void restart(State& s) {
  s.restarted = s.round;
}

// A schedule places the anchor and the start of the next round: place(state) is called with theta = θ̂_t and leaves in
// theta the point from which the round starts. keeps_anchor: the terms are needed after the data have been scored.

/// The anchor is the model just trained: iterative DPO, sDPO. Keeps nothing.
struct hand_off {
  static constexpr bool keeps_anchor = false;
  template <class State>
  void place(State&) const {}
};

/// The anchor stays where it was put: the caller's, a soup (SALSA), or the first start. Rounds go on from θ̂_t.
struct fixed_anchor {
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) s.anchor.push_back({1.0, deep_copy(s.theta)});
  }
};

/// θ_anchor ← τ θ̂_t + (1 − τ) θ_anchor: TR-DPO's soft update, once a round; τ = 1 is its hard update.
struct ema_anchor {
  double tau = 0.6;
  static constexpr bool keeps_anchor = true;
  template <class State>
  void place(State& s) const {
    if (s.anchor.empty())
      s.anchor.push_back({1.0, deep_copy(s.theta)});
    else
      axpby(tau, s.theta, 1 - tau, s.anchor.front().point);
  }
};

namespace detail {

template <momentum M, class State>
double current_alpha(M const& rule, State const& s) {
  return s.round == s.restarted ? 0.0 : rule(s.round - s.restarted);
}

// θ̂_t in theta and θ̂_{t−1} in previous become the extrapolated start in theta and θ̂_t in previous.
template <momentum M, class Extrapolate, class State>
void throw_ahead(M const& rule, Extrapolate const& extrapolate, State& s) {
  double const alpha = current_alpha(rule, s);
  if (!s.previous) {
    s.previous = deep_copy(s.theta);
    return;
  }
  extrapolate(std::as_const(s.theta), alpha, *s.previous);
  std::swap(s.theta, *s.previous);
}

}  // namespace detail

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

/// APO: anchor and start are θ̂_t + α_t (θ̂_t − θ̂_{t−1}); the result stays θ̂.          docs/math.md (5)
/// On an autoregressive model this extrapolates token by token, which is not the paper's sequence-level update (11).
/// Extrapolate: how; points that are not the weights themselves (factors of a low-rank adapter) bring their own.
template <momentum M, class Extrapolate = extrapolate_points>
struct extrapolated_weights {
  M momentum;
  Extrapolate extrapolate{};
  static constexpr bool keeps_anchor = false;
  template <class State>
  void place(State& s) const {
    detail::throw_ahead(momentum, extrapolate, s);
  }
};

template <momentum M>
extrapolated_weights(M) -> extrapolated_weights<M>;

/// APO, exact at sequence level for shift-invariant losses: the reference is (1+α) log π̂_t − α log π̂_{t−1}, unnormalised.
/// The start is the extrapolated weights, the nearest point that has parameters.       docs/math.md (6), (11)
template <momentum M, class Extrapolate = extrapolate_points>
struct extrapolated_log_probs {
  M momentum;
  Extrapolate extrapolate{};
  static constexpr bool keeps_anchor = false;
  template <class State>
  void place(State& s) const {
    double const alpha = detail::current_alpha(momentum, s);
    if (s.previous && alpha != 0) {
      s.anchor.push_back({1 + alpha, deep_copy(s.theta)});
      s.anchor.push_back({-alpha, deep_copy(*s.previous)});
    }
    detail::throw_ahead(momentum, extrapolate, s);
  }
};

template <momentum M>
extrapolated_log_probs(M) -> extrapolated_log_probs<M>;

}  // namespace kedge
