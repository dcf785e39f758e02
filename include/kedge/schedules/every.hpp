// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <tuple>

#include <kedge/detail/parameters.hpp>
#include <kedge/parts.hpp>

namespace kedge {

/// Another schedule's anchor moves only every k rounds (TR-DPO's τ). Schedule keeps its anchor: ema_anchor, soup_anchor, ….
template <class Schedule>
  requires Schedule::keeps_anchor
struct every {
  std::size_t k = 1;
  Schedule inner{};

  static constexpr bool keeps_anchor = true;
  static constexpr auto parameters =
      std::tuple{parameter<every, std::size_t>{"every", &every::k, 1, 1e9, "rounds from one move of the anchor to the next"}};

  /// The inner schedule's parameters are its own.
  [[nodiscard]] auto parts() { return std::tie(inner); }
  [[nodiscard]] auto parts() const { return std::tie(inner); }

  template <tensor P>
  struct memory {
    std::size_t rounds = 0;  ///< placed so far
    memory_of<Schedule, P> inner{};
    static constexpr auto parts = std::tuple{part{"rounds", &memory::rounds}, part{"inner", &memory::inner}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    if (own.rounds++ % k != 0) return;
    if constexpr (requires { inner.place(s, own.inner); })
      inner.place(s, own.inner);
    else
      inner.place(s);
  }
};

}  // namespace kedge
