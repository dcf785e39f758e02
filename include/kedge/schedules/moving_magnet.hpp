// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>

#include <kedge/detail/magnet.hpp>
#include <kedge/detail/parameters.hpp>
#include <kedge/parts.hpp>

namespace kedge {

/// MPO, COMAL: the effective reference w log π_magnet + (1 − w) log π̂_t, and every k rounds the magnet moves to π̂_t.  docs/math.md (13)
/// Between two moves the rounds solve the game with a KL term to the magnet, as INPO does around the first start; moving the magnet is
/// a proximal-point step on the game itself, so that the last iterate goes to its equilibrium.
/// math    mirror step η with KL weight m:  w = ηm/(1 + ηm), and β = 1/η + m of the round's loss
/// cost    two points                                         Wang et al. 2024 (MPO), Liu et al. 2024 (COMAL)
struct moving_magnet {
  double weight = 1.0 / 3;
  std::size_t k = 12;

  static constexpr bool keeps_anchor = true;
  static constexpr auto parameters =
      std::tuple{parameter<moving_magnet>{"weight", &moving_magnet::weight, 0, 1, "weight of the magnet"},
                 parameter<moving_magnet, std::size_t>{"every", &moving_magnet::k, 1, 1e9,
                                                       "rounds from one move of the magnet to the next"}};

  template <tensor P>
  struct memory {
    std::size_t rounds = 0;  ///< placed so far
    static constexpr auto parts = std::tuple{part{"rounds", &memory::rounds}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    detail::anchor_at_magnet(s, weight, own.rounds++ % k == 0);
  }
};

}  // namespace kedge
