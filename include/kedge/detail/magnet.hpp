// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

#include <kedge/concepts.hpp>

namespace kedge::detail {

/// An anchor of two terms: w log π_magnet + (1 − w) log π̂_t. The magnet is the first start until `move` puts it at θ̂_t.
template <class State>
void anchor_at_magnet(State& s, double weight, bool move) {
  if (s.anchor.empty()) {
    s.anchor.push_back({weight, deep_copy(s.theta)});
    s.anchor.push_back({1 - weight, deep_copy(s.theta)});
    return;
  }
  s.anchor.front().weight = weight;
  s.anchor.back().weight = 1 - weight;
  if (move) axpby(1, s.theta, 0, s.anchor.front().point);
  axpby(1, s.theta, 0, s.anchor.back().point);
}

}  // namespace kedge::detail
