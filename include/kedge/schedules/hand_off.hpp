// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tuple>

namespace kedge {

/// The anchor is the model just trained: iterative DPO, sDPO. Keeps nothing.
struct hand_off {
  static constexpr bool keeps_anchor = false;
  static constexpr std::tuple<> parameters{};

  template <class State>
  void place(State&) const {}
};

}  // namespace kedge
