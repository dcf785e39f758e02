// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/concepts.hpp>
#include <kedge/detail/parameters.hpp>

namespace kedge {

/// θ_anchor ← τ θ̂_t + (1 − τ) θ_anchor: TR-DPO's soft update, once a round; τ = 1 is its hard update.
///                                                                                         Gorbatovski et al. 2024
struct ema_anchor {
  double tau = 0.6;

  static constexpr bool keeps_anchor = true;
  static constexpr auto parameters =
      std::tuple{parameter<ema_anchor>{"tau", &ema_anchor::tau, 0, 1, "share of the last result in the new anchor"}};

  template <class State>
  void place(State& s) const {
    if (s.anchor.empty())
      s.anchor.push_back({1.0, deep_copy(s.theta)});
    else
      axpby(tau, s.theta, 1 - tau, s.anchor.front().point);
  }
};

}  // namespace kedge
