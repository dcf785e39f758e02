// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <tuple>
#include <vector>

#include <kedge/soup.hpp>
#include <kedge/state.hpp>

namespace kedge {

/// log of the weighted harmonic mean of probabilities: −log Σ_j w_j e^{−l_j}, element by element.        Le et al. 2024 (MRPO)
/// throws  std::invalid_argument if counts or sizes differ, a weight is negative or they don't sum to one
[[nodiscard]] inline std::vector<double> harmonic_mean(std::vector<double> const& weights,
                                                       std::vector<std::vector<double>> const& logp) {
  require_affine(weights);
  detail::require(weights.size() == logp.size(), "harmonic mean: ", weights.size(), " weights for ", logp.size(),
                  " references; pass one weight a reference");
  for (double const weight : weights)
    detail::require(weight >= 0, "harmonic mean: weight ", weight, "; weights must not be negative");
  std::vector<double> mean(logp.front().size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    double smallest = logp.front().at(i), sum = 0;
    for (auto const& reference : logp) smallest = reference.at(i) < smallest ? reference.at(i) : smallest;
    for (std::size_t j = 0; j < logp.size(); ++j) sum += weights[j] * std::exp(smallest - logp[j].at(i));
    mean[i] = smallest - std::log(sum);
  }
  return mean;
}

/// Several fixed references in probability space, as MRPO has them: the caller fills state.anchor with points and weights.
struct harmonic_anchor {
  static constexpr bool keeps_anchor = true;
  static constexpr std::tuple<> parameters{};

  template <class State>
  void place(State& s) const {
    if (s.anchor.empty()) s.anchor.push_back({1.0, deep_copy(s.theta)});
  }

  template <tensor P>
  [[nodiscard]] pair_log_probs combine(std::vector<anchor_term<P>> const& terms,
                                       std::vector<pair_log_probs> const& logp) const {
    std::vector<std::vector<double>> chosen, rejected;
    for (pair_log_probs const& reference : logp) {
      chosen.push_back(reference.chosen);
      rejected.push_back(reference.rejected);
    }
    return {combine(terms, chosen), combine(terms, rejected)};
  }
  template <tensor P>
  [[nodiscard]] std::vector<double> combine(std::vector<anchor_term<P>> const& terms,
                                            std::vector<std::vector<double>> const& logp) const {
    std::vector<double> weights;
    for (auto const& term : terms) weights.push_back(term.weight);
    return harmonic_mean(weights, logp);
  }
};

}  // namespace kedge
