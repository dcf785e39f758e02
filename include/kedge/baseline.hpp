// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include <kedge/momentum.hpp>
#include <kedge/optimizers.hpp>

// The run without momentum that ends where a run with momentum ends, for every number of inner steps.      docs/math.md (7′)

namespace kedge {

/// What a null baseline changes. `beta` is exact where rounds are solved, `rate` to first order where they are hardly begun, and
/// `both` in between as well.
enum class null_kind { beta, rate, both };

/// An optimizer, begun anew each round, that says how the length of its steps follows the scale of the gradients: all gradients times c,
/// and all numbers that it compares with them (Adam's ε), make all steps c^gradient_degree times as long.
/// 1: sgd, heavy_ball. 0: adam, and whatever else divides by the size of the gradient or takes its sign.
template <class Optimizer>
concept homogeneous_optimizer = requires(Optimizer o) {
  { Optimizer::gradient_degree } -> std::convertible_to<double>;
  { o.rate } -> std::convertible_to<double>;
};

/// Factors from the settings of a run with momentum to those of its null baseline.
struct baseline_factors {
  double beta = 1;
  double rate = 1;
  double gradient = 1;  ///< of what is compared with a gradient: Adam's ε, the norm at which gradients are clipped
};

/// The factors that make every move of a round `ratio` times as long, r below.
/// math    ℓ(h) = β^{−s} ℓ₁(βh), steps of degree p in the gradient: β/r, η r^{1 + p(1 − s)}, ε r^{s − 1}
/// loss_degree  s: 0 for DPO and all losses of z = βh; 2 for IPO on sums, (h − 1/(2β))²
/// throws  std::invalid_argument unless the ratio is positive
[[nodiscard]] inline baseline_factors longer_rounds(double ratio, double gradient_degree, double loss_degree = 0,
                                                    null_kind kind = null_kind::both) {
  detail::require(ratio > 0, "longer_rounds: ratio = ", ratio, "; it must be positive");
  switch (kind) {
    case null_kind::beta:
      return {.beta = 1 / ratio};
    case null_kind::rate:
      return {.rate = ratio};
    case null_kind::both:
      break;
  }
  return {1 / ratio, std::pow(ratio, 1 + gradient_degree * (1 - loss_degree)), std::pow(ratio, loss_degree - 1)};
}

/// An optimizer with the rate, and Adam's ε, of the factors.
template <homogeneous_optimizer Optimizer>
[[nodiscard]] Optimizer rescaled(Optimizer optimizer, baseline_factors const& factors) {
  optimizer.rate *= factors.rate;
  if constexpr (requires { optimizer.epsilon; }) optimizer.epsilon *= factors.gradient;
  return optimizer;
}

/// A null baseline: plain rounds with β · factors.beta and this optimizer.
template <class Optimizer>
struct null_baseline {
  double ratio;  ///< r = β/β_eq
  baseline_factors factors;
  Optimizer optimizer;
};

/// The null baseline of APO with constant settings and the same pairs each round: r = C_T/T.
/// On log-linear policies `both` ends in the point where APO ends, for every number of inner steps.       docs/math.md (7′)
/// throws  std::invalid_argument for no rounds, or a rule whose C_T isn't positive
template <momentum M, homogeneous_optimizer Optimizer>
[[nodiscard]] null_baseline<Optimizer> effective_baseline(M const& rule, std::size_t rounds, Optimizer const& optimizer,
                                                          null_kind kind = null_kind::both, double loss_degree = 0) {
  double const ratio = 1 / effective_beta(1, rule, rounds);
  auto const factors = longer_rounds(ratio, Optimizer::gradient_degree, loss_degree, kind);
  return {ratio, factors, rescaled(optimizer, factors)};
}

/// The same round by round, where pairs, β or the rate differ from round to round: r_t = W_t, the weight that the move of round t has in
/// the end. Plain rounds with these settings end where APO ends; before the end they are elsewhere.
template <momentum M, homogeneous_optimizer Optimizer>
[[nodiscard]] std::vector<null_baseline<Optimizer>> effective_baselines(M const& rule, std::size_t rounds, Optimizer const& optimizer,
                                                                        double loss_degree = 0) {
  std::vector<null_baseline<Optimizer>> all;
  for (double const weight : round_weights(rule, rounds)) {
    auto const factors = longer_rounds(weight, Optimizer::gradient_degree, loss_degree);
    all.push_back({weight, factors, rescaled(optimizer, factors)});
  }
  return all;
}

}  // namespace kedge
