// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include <kedge/parts.hpp>

// Observers of kedge::run: any type with at least one of on_round_start(state, data), on_round_end(state) and should_stop(state).
// What one of these has seen is its own parts, not the state's: a run that resumes saves and restores them too.

namespace kedge {

/// Several observers as one, asked in this order; see observers().
template <class... Each>
struct observer_list {
  std::tuple<Each...> each;

  template <class State, class Data>
  void on_round_start(State& s, Data const& data) {
    all([&](auto& one) {
      if constexpr (requires { one.on_round_start(s, data); }) one.on_round_start(s, data);
    });
  }
  template <class State>
  void on_round_end(State& s) {
    all([&](auto& one) {
      if constexpr (requires { one.on_round_end(s); }) one.on_round_end(s);
    });
  }
  /// One that says so is enough; all are asked.
  template <class State>
  [[nodiscard]] bool should_stop(State const& s) {
    bool stop = false;
    all([&](auto& one) {
      if constexpr (requires { one.should_stop(s); }) stop = one.should_stop(s) || stop;
    });
    return stop;
  }

 private:
  template <class Visitor>
  void all(Visitor&& visit) {
    std::apply([&](auto&... one) { (visit(one), ...); }, each);
  }
};

/// Several observers as one. Those with a name are referred to, temporaries are kept.
template <class... Each>
[[nodiscard]] observer_list<Each...> observers(Each&&... each) {
  return {std::tuple<Each...>(std::forward<Each>(each)...)};
}

/// Keeps a deep copy of the best θ̂ by score(state), larger is better; NaN is never best. See keep_best().
/// cost    one point
template <tensor P, class Score>
struct best_point {
  Score score;
  std::optional<P> point{};
  double value = std::numeric_limits<double>::lowest();
  std::size_t round = 0;  ///< after which it was reached

  static constexpr auto parts =
      std::tuple{part{"point", &best_point::point}, part{"value", &best_point::value}, part{"round", &best_point::round}};

  template <class State>
  void on_round_end(State const& s) {
    double const now = score(s);
    if (!(now > value)) return;
    value = now;
    round = s.round;
    point = deep_copy(s.theta);
  }
};

template <tensor P, class Score>
[[nodiscard]] best_point<P, Score> keep_best(Score score) {
  return {std::move(score)};
}

/// Stops the run once score(state), larger is better, has not risen by more than `threshold` for `patience` rounds in a row.
template <class Score>
struct early_stop {
  Score score;
  std::size_t patience = 1;
  double threshold = 0;
  double best = std::numeric_limits<double>::lowest();
  std::size_t waited = 0;  ///< rounds since the score last rose

  static constexpr auto parts = std::tuple{part{"best", &early_stop::best}, part{"waited", &early_stop::waited}};

  template <class State>
  void on_round_end(State const& s) {
    double const now = score(s);
    bool const rises = now > best + threshold;
    if (rises) best = now;
    waited = rises ? 0 : waited + 1;
  }
  template <class State>
  [[nodiscard]] bool should_stop(State const&) const {
    return waited >= patience;
  }
};

template <class Score>
early_stop(Score, std::size_t = 1, double = 0) -> early_stop<Score>;

}  // namespace kedge
