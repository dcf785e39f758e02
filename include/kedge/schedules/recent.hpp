// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>
#include <vector>

#include <kedge/soup.hpp>

namespace kedge {

/// MNPO: Σ_j λ_j log π̂_{t−j}, the newest first; before there are enough rounds the oldest takes what is left over.
/// cost    one point a weight                                                                  Wu et al. 2025
/// throws  std::invalid_argument if the weights don't sum to one
struct recent_anchors {
  std::vector<double> weights{0.5, 0.5};

  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  template <class State>
  void place(State& s) const {
    require_affine(weights);
    s.anchor.insert(s.anchor.begin(), {0.0, deep_copy(s.theta)});
    if (s.anchor.size() > weights.size()) s.anchor.pop_back();
    double rest = 1;
    for (std::size_t j = 0; j < s.anchor.size(); ++j) {
      s.anchor[j].weight = j + 1 < s.anchor.size() ? weights[j] : rest;
      rest -= weights[j];
    }
  }
};

}  // namespace kedge
