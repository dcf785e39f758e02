// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/detail/extrapolation.hpp>

namespace kedge {

/// APO: anchor and start are θ̂_t + α_t (θ̂_t − θ̂_{t−1}); the result stays θ̂.          docs/math.md (5)
/// On an autoregressive model this extrapolates token by token, which is not the paper's sequence-level update (11).
/// Extrapolate: how; points that are not the weights themselves (factors of a low-rank adapter) bring their own.
template <class M, class Extrapolate = extrapolate_points>
struct extrapolated_weights {
  M momentum{};
  Extrapolate extrapolate{};

  static constexpr bool keeps_anchor = false;

  template <class State>
    requires momentum_for<M, State>
  void place(State& s) const {
    detail::throw_ahead(detail::current_alpha(momentum, s), extrapolate, s);
  }
};

template <class M>
extrapolated_weights(M) -> extrapolated_weights<M>;

}  // namespace kedge
