// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/concepts.hpp>

namespace kedge {

/// The anchor stays where it was put: the caller's, a soup (SALSA), or the first start. Rounds go on from θ̂_t.
struct fixed_anchor {
  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) s.anchor.push_back({1.0, deep_copy(s.theta)});
  }
};

}  // namespace kedge
