// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>

#include <kedge/detail/magnet.hpp>
#include <kedge/parts.hpp>

namespace kedge {

/// Halpern's anchored iteration: after t rounds the effective reference is 1/(t+1) log π_0 + t/(t+1) log π̂_t, x_{t+1} = x_0/(t+2) +
/// (t+1)/(t+2) T(x_t) of the literature.                                                           docs/math.md (14)
/// math    for a round T that doesn't expand distances, ‖x_t − T x_t‖ ≤ 2 ‖x_0 − x*‖ / (t + 1), also where T turns in circles
/// cost    two points                                                               Halpern 1967, Lieder 2021
struct halpern_anchor {
  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  template <tensor P>
  struct memory {
    std::size_t rounds = 0;  ///< placed so far
    static constexpr auto parts = std::tuple{part{"rounds", &memory::rounds}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    detail::anchor_at_magnet(s, 1 / static_cast<double>(++own.rounds), false);
  }
};

}  // namespace kedge
