// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <tuple>

#include <kedge/detail/parameters.hpp>
#include <kedge/parts.hpp>

namespace kedge {

/// Bias-corrected EMA: θ_anchor = EMA_t + a_t (θ̂_t − θ_0), EMA ← (1 − b_t) EMA + b_t θ̂_t.             Block and Zhang 2025
/// math    a_t = (ρ + γt)^{−η}, b_t = (ρ + γt)^{−κ}
/// cost    two points beside the anchor
struct bema_anchor {
  double kappa = 0.5, eta = 0.2, rho = 10, gamma = 1;

  static constexpr bool keeps_anchor = true;
  static constexpr auto parameters =
      std::tuple{parameter<bema_anchor>{"kappa", &bema_anchor::kappa, 0, unbounded, "exponent of the EMA's decaying weight"},
                 parameter<bema_anchor>{"eta", &bema_anchor::eta, 0, unbounded, "exponent of the correction's decaying weight"},
                 parameter<bema_anchor>{"rho", &bema_anchor::rho, 1, unbounded, "age with which both weights begin, rounds"},
                 parameter<bema_anchor>{"gamma", &bema_anchor::gamma, 0, unbounded, "age that a round adds"}};

  template <tensor P>
  struct memory {
    std::optional<P> start, average;
    std::size_t rounds = 0;  ///< since the start
    static constexpr auto parts =
        std::tuple{part{"start", &memory::start}, part{"average", &memory::average}, part{"rounds", &memory::rounds}};
  };

  template <class State, class Memory>
  void place(State& s, Memory& own) const {
    if (s.anchor.empty()) {
      s.anchor.push_back({1.0, deep_copy(s.theta)});
      own.start = deep_copy(s.theta);
      own.average = deep_copy(s.theta);
      return;
    }
    double const age = rho + gamma * static_cast<double>(++own.rounds);
    double const a = std::pow(age, -eta), b = std::pow(age, -kappa);
    auto& anchor = s.anchor.front().point;
    axpby(b, s.theta, 1 - b, *own.average);
    axpby(1, *own.average, 0, anchor);
    axpby(a, s.theta, 1, anchor);
    axpby(-a, *own.start, 1, anchor);
  }
};

}  // namespace kedge
