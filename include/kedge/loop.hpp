// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <kedge/detail/ranges.hpp>
#include <kedge/soup.hpp>
#include <kedge/state.hpp>

namespace kedge {

/// How a solver or a run ended. Divergence is a result, not an exception.
enum class [[nodiscard]] status { done, stopped, diverged };

/// What the loop asks of a problem.
///   source(state) -> D          the round's data: a chunk, a file, or fresh samples from the anchor
///   score(theta, D) -> L        log-probabilities of the data under a point
///   solve(theta, D, reference, round) -> status   one proximal step, in place; `stopped` leaves the round open
///   memory<P>                   optional: what it keeps from round to round, as state.problem; a type that lists its parts
template <class Problem, class P, class L, class Schedule = hand_off>
concept round_problem = tensor<P> && tensor<L> &&
                        requires(Problem& problem, state<P, L, Schedule, memory_of<Problem, P>>& s, P& theta, L const& logp) {
                          problem.source(s);
                          { problem.score(theta, problem.source(s)) } -> std::convertible_to<L>;
                          { problem.solve(theta, problem.source(s), logp, s.round) } -> std::same_as<status>;
                        };

/// What the loop asks of a schedule; see schedules.hpp.
template <class Schedule, class State>
concept schedule = requires(Schedule const& rule, State& s) {
  { rule.keeps_anchor } -> std::convertible_to<bool>;
} && (requires(Schedule const& rule, State& s) { rule.place(s); } ||
      requires(Schedule const& rule, State& s) { rule.place(s, s.memory); });

/// A type with at least one of these members:
///   on_round_start(state, data)   the reference is scored, the solver is about to start
///   on_round_end(state)           theta is θ̂_t, state.round = t
///   should_stop(state) -> bool    asked between rounds
template <class Observer, class State, class Data>
concept sees_rounds =
    requires(std::remove_reference_t<Observer>& o, State& s, Data const& data) { o.on_round_start(s, data); } ||
    requires(std::remove_reference_t<Observer>& o, State& s) { o.on_round_end(s); } ||
    requires(std::remove_reference_t<Observer>& o, State& s) {
      { o.should_stop(s) } -> std::convertible_to<bool>;
    };

template <class... Each>
struct observer_list;

namespace detail {
template <class Observer, class State, class Data>
inline constexpr bool all_see_rounds = true;
template <class... Each, class State, class Data>
inline constexpr bool all_see_rounds<observer_list<Each...>, State, Data> =
    ((sees_rounds<Each, State, Data> && all_see_rounds<std::remove_cvref_t<Each>, State, Data>) && ...);
}  // namespace detail

/// What the loop asks of an observer, and of each of several. It may change the state only as restart() does.
template <class Observer, class State, class Data>
concept observer = sees_rounds<Observer, State, Data> && detail::all_see_rounds<std::remove_cvref_t<Observer>, State, Data>;

/// An observer that sees nothing.
struct no_observer {
  template <class State>
  void on_round_end(State const&) const {}
};

namespace detail {

template <class Schedule, class State>
void place(Schedule const& rule, State& s) {
  if constexpr (requires { rule.place(s, s.memory); })
    rule.place(s, s.memory);
  else
    rule.place(s);
}

// Schedules whose anchors don't mix in log space (harmonic_anchor) bring a combine(terms, log-probabilities) of their own.
template <class L, class Schedule, class State, class Problem, class Data>
L score_anchor(State const& s, Schedule const& rule, Problem& problem, Data const& data) {
  if (s.anchor.empty()) return problem.score(s.theta, data);
  constexpr bool own = requires(std::vector<L> const& logp) { rule.combine(s.anchor, logp); };
  if constexpr (!own) require_affine_terms(s.anchor);
  std::vector<L> logp;
  for (auto const& term : s.anchor) logp.push_back(problem.score(term.point, data));
  if constexpr (own)
    return rule.combine(s.anchor, logp);
  else
    return combine(s.anchor, std::move(logp));
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
/// returns  done; stopped by the solver or an observer; diverged if the solver says so or ⟨θ̂, θ̂⟩ is not finite, the round left open
/// throws   what the problem throws; std::invalid_argument if anchor weights don't sum to one, or a parameter is out of range
/// cost     beside the problem's: one dot product of a point a round
template <tensor P, tensor L, class Made, class Memory, class Schedule, class Problem, class Observer = no_observer>
  requires schedule<Schedule, state<P, L, Schedule, Memory>> && round_problem<Problem, P, L, Schedule> &&
           observer<Observer, state<P, L, Schedule, memory_of<Problem, P>>,
                    decltype(std::declval<Problem&>().source(std::declval<state<P, L, Schedule, memory_of<Problem, P>>&>()))>
status run(state<P, L, Made, Memory>& s, Schedule const& rule, Problem& problem, std::size_t rounds, Observer&& watch = {}) {
  static_assert(
      std::same_as<Made, Schedule>,
      "kedge::run: the state was made for another schedule. Make it by state_for<L>(theta, schedule), or convert it by "
      "with_schedule<Schedule>(std::move(state))");
  static_assert(
      std::same_as<Memory, memory_of<Problem, P>>,
      "kedge::run: the state has no place for what the problem keeps. Make it by state_for<L>(theta, schedule, problem)");
  detail::require_in_range(rule);
  while (s.round < rounds) {
    if constexpr (requires { watch.should_stop(s); })
      if (!s.in_round && watch.should_stop(s)) return status::stopped;
    if (!s.in_round) {
      detail::place(rule, s);
      s.in_round = true;
    }
    auto const& data = problem.source(s);
    if (!s.cached) {
      s.cached.emplace(detail::score_anchor<L>(s, rule, problem, data), s.epoch);
      if (!rule.keeps_anchor) s.anchor.clear();
    }
    if constexpr (requires { watch.on_round_start(s, data); }) watch.on_round_start(s, data);
    if (status const ended = problem.solve(s.theta, data, s.cached->at(s.epoch), s.round); ended != status::done) return ended;
    if (!detail::is_finite(dot(s.theta, s.theta))) return status::diverged;
    s.cached.reset();
    s.in_round = false;
    ++s.round;
    ++s.epoch;
    if constexpr (requires { watch.on_round_end(s); }) watch.on_round_end(s);
  }
  return status::done;
}

}  // namespace kedge
