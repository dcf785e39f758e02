// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/detail/magnet.hpp>
#include <kedge/detail/parameters.hpp>

namespace kedge {

/// INPO: the effective reference ρ log π_0 + (1 − ρ) log π̂_t, magnetic mirror descent around the first start.
/// cost    two points                                                                          Zhang et al. 2024
struct inpo_anchor {
  double rho = 1.0 / 3;

  static constexpr bool keeps_anchor = true;
  static constexpr auto parameters =
      std::tuple{parameter<inpo_anchor>{"rho", &inpo_anchor::rho, 0, 1, "weight of the start, τ/η of the paper"}};

  template <class State>
  void place(State& s) const {
    detail::anchor_at_magnet(s, rho, false);
  }
};

}  // namespace kedge
