// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>

#include <kedge/parts.hpp>

namespace kedge {

/// The anchor is the mean of all results so far, the start included: a growing soup.
struct soup_anchor {
  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  template <tensor P>
  struct memory {
    std::size_t points = 0;  ///< in the mean
    static constexpr auto parts = std::tuple{part{"points", &memory::points}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    double const share = 1 / static_cast<double>(++own.points);
    if (s.anchor.empty())
      s.anchor.push_back({1.0, deep_copy(s.theta)});
    else
      axpby(share, s.theta, 1 - share, s.anchor.front().point);
  }
};

}  // namespace kedge
