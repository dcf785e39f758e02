// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <tuple>

#include <kedge/detail/ranges.hpp>
#include <kedge/elementwise.hpp>

// First-order optimizers as values. What changes from step to step is a state of its own type:
//   auto state = optimizer.init(theta);            once
//   optimizer.step(state, theta, gradient);        θ one step further, in place
// Settings are parameters with names and ranges, as those of losses are. gradient_degree says how steps scale with gradients; see
// homogeneous_optimizer in baseline.hpp.

namespace kedge {

/// An optimizer for points of type P.
template <class Optimizer, class P>
concept optimizer = tensor<P> && requires(Optimizer const& rule, P& theta, P const& gradient) {
  { rule.init(gradient) };
  requires requires(decltype(rule.init(gradient))& state) { rule.step(state, theta, gradient); };
};

namespace detail {

// A tensor of x's shape, all 0; x is finite.
template <tensor T>
T zeros_like(T const& x) {
  T zeros = deep_copy(x);
  axpby(0, x, 0, zeros);
  return zeros;
}

template <class Owner>
constexpr parameter<Owner> rate_parameter(double Owner::* member) {
  return {"learning_rate", member, 0, unbounded, "length of a step"};
}

}  // namespace detail

/// Gradient descent: θ ← θ − η g. No state.
struct sgd {
  double rate = 0.1;
  static constexpr double gradient_degree = 1;
  static constexpr auto parameters = std::tuple{detail::rate_parameter(&sgd::rate)};

  struct state {};
  template <tensor P>
  [[nodiscard]] state init(P const&) const {
    return {};
  }
  template <tensor P>
  void step(state&, P& theta, P const& gradient) const {
    axpby(-rate, gradient, 1, theta);
  }
};

/// Gradient descent with momentum, Polyak's heavy ball: v ← μ v + g, θ ← θ − η v.                  Polyak 1964
/// cost    one copy of θ
struct heavy_ball {
  double rate = 0.1;
  double momentum = 0.9;
  static constexpr double gradient_degree = 1;
  static constexpr auto parameters = std::tuple{
      detail::rate_parameter(&heavy_ball::rate),
      parameter<heavy_ball>{"momentum", &heavy_ball::momentum, 0, 1, "share of the last step in this one", false, true}};

  template <tensor P>
  struct state {
    P velocity;
  };
  template <tensor P>
  [[nodiscard]] state<P> init(P const& theta) const {
    return {detail::zeros_like(theta)};
  }
  template <tensor P>
  void step(state<P>& s, P& theta, P const& gradient) const {
    axpby(1, gradient, momentum, s.velocity);
    axpby(-rate, s.velocity, 1, theta);
  }
};

/// Adam: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − η m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).  Kingma, Ba 2015
/// cost    two copies of θ; one more inside a step
struct adam {
  double rate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  static constexpr double gradient_degree = 0;
  static constexpr auto parameters =
      std::tuple{detail::rate_parameter(&adam::rate),
                 parameter<adam>{"adam_beta1", &adam::beta1, 0, 1, "decay of the mean of gradients", false, true},
                 parameter<adam>{"adam_beta2", &adam::beta2, 0, 1, "decay of the mean of their squares", false, true},
                 parameter<adam>{"adam_epsilon", &adam::epsilon, 0, unbounded, "added to the root of the mean square", true}};

  template <tensor P>
  struct state {
    P mean, square;
    std::size_t steps = 0;
  };
  template <elementwise_tensor P>
  [[nodiscard]] state<P> init(P const& theta) const {
    return {detail::zeros_like(theta), detail::zeros_like(theta), 0};
  }
  template <elementwise_tensor P>
  void step(state<P>& s, P& theta, P const& gradient) const {
    auto const t = static_cast<double>(++s.steps);
    double const to_mean = 1 / (1 - std::pow(beta1, t)), to_square = 1 / (1 - std::pow(beta2, t));
    axpby(1 - beta1, gradient, beta1, s.mean);
    elementwise([own = beta2](auto const& v, auto const& g) { return own * v + (1 - own) * (g * g); }, s.square, gradient);
    elementwise(
        [this, to_mean, to_square](auto const& x, auto const& m, auto const& v) {
          return x - (rate * to_mean) * m / (detail::square_root(to_square * v) + epsilon);
        },
        theta, s.mean, s.square);
  }
};

}  // namespace kedge
