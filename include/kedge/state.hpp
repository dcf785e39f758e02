// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include <kedge/parts.hpp>
#include <kedge/reference.hpp>
#include <kedge/schedules/hand_off.hpp>
#include <kedge/soup.hpp>

namespace kedge {

/// One term λ log π_θ of an anchor in log space.
template <tensor P>
struct anchor_term {
  double weight;
  P point;

  static constexpr auto parts = std::tuple{part{"weight", &anchor_term::weight}, part{"point", &anchor_term::point}};
};

/// Throws unless the weights of an anchor sum to one.
template <tensor P>
void require_affine_terms(std::vector<anchor_term<P>> const& terms) {
  double sum = 0;
  for (auto const& term : terms) sum += term.weight;
  double const weights[] = {sum};
  require_affine(weights);
}

/// The reference that an anchor means: Σ λ_j log π_{θ_j}, from the log-probabilities of each term.          docs/math.md (6)
template <tensor P, tensor L>
[[nodiscard]] L combine(std::vector<anchor_term<P>> const& terms, std::vector<L> logp) {
  L sum = std::move(logp.front());
  if (double const weight = terms.front().weight; weight != 1) {
    L const plain = deep_copy(sum);
    axpby(weight, plain, 0, sum);
  }
  for (std::size_t j = 1; j < terms.size(); ++j) axpby(terms[j].weight, logp[j], 1, sum);
  return sum;
}

/// Everything a run is, between two calls: own it, copy it with copy(), save and restore it by its parts, go on from it.
/// P: points. L: log-probabilities; a state of points alone, `state s(theta)`, takes those of pairs. Memory: what the problem keeps
/// from round to round, as a mirror step its last rewards; state_for() finds it.
/// Copying with `=` copies points as their type does, and some types alias.
template <tensor P, tensor L, class Schedule = hand_off, class Memory = no_memory>
struct state {
  using schedule_type = Schedule;

  explicit state(P start) : theta(std::move(start)) {}
  state(P start, Schedule const&) : theta(std::move(start)) {}

  P theta;                               ///< θ̂_t between rounds, the iterate inside one
  std::optional<P> previous{};           ///< inside round t: θ̂_t; between rounds: θ̂_{t−1}. Only if the schedule looks back
  std::vector<anchor_term<P>> anchor{};  ///< log π_anchor = Σ λ_j log π_{θ_j}; empty: the point the round started from
  std::size_t round = 0;                 ///< rounds completed
  std::size_t epoch = 0;                 ///< how often the anchor has moved
  bool in_round = false;                 ///< theta is an iterate, not a result
  std::optional<reference<L>> cached{};  ///< the running round's reference, scored on its data
  std::size_t restarted = 0;             ///< the round after which momentum began anew; see restart()
  memory_of<Schedule, P> memory{};       ///< the schedule's
  Memory problem{};                      ///< the problem's

  static constexpr auto parts =
      std::tuple{part{"theta", &state::theta},      part{"previous", &state::previous},   part{"anchor", &state::anchor},
                 part{"round", &state::round},      part{"epoch", &state::epoch},         part{"in_round", &state::in_round},
                 part{"reference", &state::cached}, part{"restarted", &state::restarted}, part{"memory", &state::memory},
                 part{"problem", &state::problem}};

  /// All points with storage of their own.
  [[nodiscard]] state copy() const {
    state twin = *this;
    detail::unshare(twin);
    return twin;
  }
};

template <tensor P>
state(P) -> state<P, pair_log_probs>;
template <tensor P, class Schedule>
state(P, Schedule) -> state<P, pair_log_probs, Schedule>;

/// The state in which a run under this schedule starts, with log-probabilities of type L.
template <tensor L = pair_log_probs, tensor P, class Schedule>
[[nodiscard]] state<P, L, Schedule> state_for(P start, Schedule const&) {
  return state<P, L, Schedule>(std::move(start));
}

/// The same for a problem that keeps something from round to round.
template <tensor L = pair_log_probs, tensor P, class Schedule, class Problem>
[[nodiscard]] state<P, L, Schedule, memory_of<Problem, P>> state_for(P start, Schedule const&, Problem const&) {
  return state<P, L, Schedule, memory_of<Problem, P>>(std::move(start));
}

/// The run goes on under another schedule, from θ̂_t: rounds are counted on, and what the problem keeps stays. Anchor, previous
/// iterate, memory and momentum begin anew, as at a start. Takes the state; pass s.copy() to keep the old one.
/// throws  std::invalid_argument inside a round
template <class Schedule, tensor P, tensor L, class Before, class Memory>
[[nodiscard]] state<P, L, Schedule, Memory> with_schedule(state<P, L, Before, Memory>&& s) {
  detail::require(!s.in_round, "with_schedule: round ", s.round, " is not over; end it under the schedule that began it");
  state<P, L, Schedule, Memory> next(std::move(s.theta));
  next.round = next.restarted = s.round;
  next.epoch = s.epoch;
  next.problem = std::move(s.problem);
  return next;
}

/// Momentum begins anew: the next round starts at θ̂_t itself, and the rule counts rounds from here.
/// Call it between rounds, or from an observer's on_round_end.
template <class State>
void restart(State& s) {
  s.restarted = s.round;
}

}  // namespace kedge
