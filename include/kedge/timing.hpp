// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <tuple>
#include <vector>

#include <kedge/parts.hpp>

// Not part of kedge.hpp: <chrono> costs more to compile than all schedules.

namespace kedge {

/// Seconds that the solver took, a number a round. A round that was stopped and resumed counts from the resume.
struct timing {
  std::vector<double> seconds{};
  std::chrono::steady_clock::time_point started{};

  static constexpr auto parts = std::tuple{part{"seconds", &timing::seconds}};

  template <class State, class Data>
  void on_round_start(State const&, Data const&) {
    started = std::chrono::steady_clock::now();
  }
  template <class State>
  void on_round_end(State const&) {
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
};

}  // namespace kedge
