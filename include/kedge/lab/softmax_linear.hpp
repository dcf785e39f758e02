// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include <kedge/concepts.hpp>
#include <kedge/lab/tabular.hpp>
#include <kedge/reference.hpp>

namespace kedge::lab {

/// A comparison in context x: arm `chosen` was preferred to arm `rejected`.
struct arm_pair {
  std::size_t context, chosen, rejected;
};

/// Policy log π(y|x) = ⟨θ, φ(x, y)⟩ − log Z(x) over the arms of each context: log-linear in one decision, so that
/// extrapolating weights is extrapolating log-probabilities.                                         docs/math.md (11)
class softmax_linear {
 public:
  /// features[x][y] is φ(x, y); all of one length.
  explicit softmax_linear(std::vector<std::vector<vector>> features) : features_(std::move(features)) {
    for (auto const& arms : features_)
      for (vector const& phi : arms)
        detail::require(phi.size() == features_[0][0].size(), "softmax_linear: features of ", phi.size(), " and ",
                        features_[0][0].size(), " elements; all must have one length");
  }

  [[nodiscard]] std::size_t contexts() const { return features_.size(); }
  [[nodiscard]] std::size_t dimension() const { return features_.at(0).at(0).size(); }

  [[nodiscard]] vector logits(vector const& theta, std::size_t context) const {
    vector result;
    for (vector const& phi : features_.at(context)) result.push_back(expected(phi, theta));
    return result;
  }

  /// Log-probabilities of pairs, and their pullback: gradient += Σ_i c_i ∂log π(y_i)/∂θ, ∂log π(y)/∂θ = φ(y) − E_π φ.
  /// shapes  theta [d], pairs [n] -> logp: n pairs; gradient [d]
  /// cost    O(contexts in use · arms · d)
  [[nodiscard]] auto forward(vector const& theta, std::vector<arm_pair> const& pairs) const {
    pair_log_probs logp;
    std::vector<vector> policies(contexts());
    for (arm_pair const& pair : pairs) {
      if (policies[pair.context].empty()) policies[pair.context] = log_softmax(logits(theta, pair.context));
      logp.chosen.push_back(policies[pair.context].at(pair.chosen));
      logp.rejected.push_back(policies[pair.context].at(pair.rejected));
    }
    auto pullback = [this, &pairs, policies = std::move(policies)](pair_log_probs const& cotangent, vector& gradient) {
      for (std::size_t i = 0; i < pairs.size(); ++i) {
        std::size_t const x = pairs[i].context;
        add(cotangent.chosen[i], x, pairs[i].chosen, gradient);
        add(cotangent.rejected[i], x, pairs[i].rejected, gradient);
        double const both = cotangent.chosen[i] + cotangent.rejected[i];
        if (both == 0) continue;  // a margin loss: the expectation cancels
        for (std::size_t y = 0; y < policies[x].size(); ++y) add(-both * std::exp(policies[x][y]), x, y, gradient);
      }
    };
    return forward_result{std::move(logp), std::move(pullback)};
  }

 private:
  void add(double scale, std::size_t context, std::size_t arm, vector& gradient) const {
    vector const& phi = features_[context][arm];
    for (std::size_t k = 0; k < phi.size(); ++k) gradient[k] += scale * phi[k];
  }

  std::vector<std::vector<vector>> features_;
};

}  // namespace kedge::lab
