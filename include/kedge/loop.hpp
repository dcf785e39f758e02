// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <kedge/schedule.hpp>

namespace kedge {

/// How a solver or a run ended. Divergence is a result, not an exception.
enum class status { done, stopped, diverged };

/// What the loop asks of a problem.
///   source(state) -> D          the round's data: a chunk, a file, or fresh samples from the anchor
///   score(theta, D) -> L        log-probabilities of the data under a point
///   solve(theta, D, reference, round) -> status   one proximal step, in place; `stopped` leaves the round open
template <class Problem, class P, class L>
concept round_problem = tensor<P> && tensor<L> && requires(Problem& problem, state<P, L> const& s, P& theta, L const& logp) {
  problem.source(s);
  { problem.score(theta, problem.source(s)) } -> std::convertible_to<L>;
  { problem.solve(theta, problem.source(s), logp, s.round) } -> std::same_as<status>;
};

/// An observer that sees nothing. Any type with some of these members will do:
///   on_round_start(state, data)   the reference is scored, the solver is about to start
///   on_round_end(state)           theta is θ̂_t, state.round = t
///   should_stop(state) -> bool    asked between rounds
struct no_observer {};

namespace detail {

// Schedules whose anchors don't mix in log space (harmonic_anchor) bring a combine(terms, log-probabilities) of their own.
template <class L, class Schedule, class State, class Problem, class Data>
L score_anchor(State const& s, Schedule const& schedule, Problem& problem, Data const& data) {
  if (s.anchor.empty()) return problem.score(s.theta, data);
  if constexpr (requires(std::vector<L> const& logp) { schedule.combine(s.anchor, logp); }) {
    std::vector<L> logp;
    for (auto const& term : s.anchor) logp.push_back(problem.score(term.point, data));
    return schedule.combine(s.anchor, logp);
  }
  double sum = 0;
  for (auto const& term : s.anchor) sum += term.weight;
  double const weights[] = {sum};
  require_affine(weights);
  L logp = problem.score(s.anchor.front().point, data);
  if (double const weight = s.anchor.front().weight; weight != 1) {
    L const plain = deep_copy(logp);
    axpby(weight, plain, 0, logp);
  }
  for (std::size_t j = 1; j < s.anchor.size(); ++j) {
    L const term = problem.score(s.anchor[j].point, data);
    axpby(s.anchor[j].weight, term, 1, logp);
  }
  return logp;
}

}  // namespace detail

/// The outer loop: rounds of a proximal-point method with a moving reference.              docs/math.md (4)
///   for t = 0 … rounds − 1:
///       place anchor and start      schedule(θ̂_t, θ̂_{t−1}, anchor)
///       D_t       = source(state)
///       reference = Σ λ_j score(anchor_j, D_t)
///       θ̂_{t+1}  = solve(start, D_t, reference)
/// The result is state.theta = θ̂, never the extrapolated point. A run that was stopped inside a round goes on there:
/// call run again with the saved state; the cached reference is used, not computed anew.
/// A source whose data depend on the anchor keeps the running round's data itself: inside a round it is asked for them again.
/// throws  what the problem throws; std::invalid_argument if anchor weights don't sum to one
template <tensor P, tensor L, class Schedule, class Problem, class Observer = no_observer>
  requires round_problem<Problem, P, L>
status run(state<P, L>& s, Schedule const& schedule, Problem& problem, std::size_t rounds, Observer&& observer = {}) {
  while (s.round < rounds) {
    if constexpr (requires { observer.should_stop(s); })
      if (!s.in_round && observer.should_stop(s)) return status::stopped;
    if (!s.in_round) {
      schedule.place(s);
      s.in_round = true;
    }
    auto const& data = problem.source(s);
    if (!s.cached) {
      s.cached.emplace(detail::score_anchor<L>(s, schedule, problem, data), s.epoch);
      if constexpr (!Schedule::keeps_anchor) s.anchor.clear();
    }
    if constexpr (requires { observer.on_round_start(s, data); }) observer.on_round_start(s, data);
    if (status const ended = problem.solve(s.theta, data, s.cached->at(s.epoch), s.round); ended != status::done) return ended;
    s.cached.reset();
    s.in_round = false;
    ++s.round;
    ++s.epoch;
    if constexpr (requires { observer.on_round_end(s); }) observer.on_round_end(s);
  }
  return status::done;
}

}  // namespace kedge
