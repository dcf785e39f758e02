// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/detail/extrapolation.hpp>

namespace kedge {

/// APO, exact at sequence level for shift-invariant losses: the reference is (1+α) log π̂_t − α log π̂_{t−1}, unnormalised.
/// The start is the extrapolated weights, the nearest point that has parameters.       docs/math.md (6), (11)
template <class M, class Extrapolate = extrapolate_points>
struct extrapolated_log_probs {
  M momentum{};
  Extrapolate extrapolate{};

  static constexpr bool keeps_anchor = false;

  template <class State>
    requires momentum_for<M, State>
  void place(State& s) const {
    double const alpha = detail::current_alpha(momentum, s);
    if (s.previous && alpha != 0) {
      s.anchor.push_back({1 + alpha, deep_copy(s.theta)});
      s.anchor.push_back({-alpha, deep_copy(*s.previous)});
    }
    detail::throw_ahead(alpha, extrapolate, s);
  }
};

template <class M>
extrapolated_log_probs(M) -> extrapolated_log_probs<M>;

}  // namespace kedge
