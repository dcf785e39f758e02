// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <kedge/lab/tabular.hpp>

// Online DPO by exact gradient steps on tabular logits; what the pairs are sampled from decides the rate.
//                                                                                              Shi et al. 2025, arXiv
//                                                                                              2409.19605

namespace kedge::lab {

/// Which pairs, as weights w(y, y′) in the gradient: both uniform; one from π^{1/2}-tilts of the reward; one from tilts of the
/// policy.
enum class pair_sampler { uniform, mix_reward, mix_policy };

/// The algorithm's state: logits relative to the reference, and the reward it should reproduce.
class sampled_dpo {
 public:
  sampled_dpo(vector reward, double beta, pair_sampler sampler)
      : reward_(std::move(reward)), beta_(beta), sampler_(sampler), log_ratio_(reward_.size(), 0.0) {
    detail::require(beta > 0, "sampled_dpo: beta = ", beta, "; it must be positive");
  }

  /// One exact step with η = 1/(β² K): log π/ρ += ηβ Σ_{y′} w(y, y′) [σ(r − r′) − σ(β (ratio − ratio′))].
  void step() {
    std::size_t const n = reward_.size();
    double const scale = 1 / (beta_ * static_cast<double>(n));
    vector update(n, 0.0);
    for (std::size_t y = 0; y < n; ++y)
      for (std::size_t other = 0; other < n; ++other) {
        double const d = reward_[y] - reward_[other], fitted = beta_ * (log_ratio_[y] - log_ratio_[other]);
        update[y] += scale * weight(d, fitted) * (sigmoid(d) - sigmoid(fitted));
      }
    for (std::size_t y = 0; y < n; ++y) log_ratio_[y] += update[y];
  }

  /// max |r − r′ − β (ratio − ratio′)| over pairs.
  [[nodiscard]] double error() const {
    vector residual(reward_);
    for (std::size_t y = 0; y < residual.size(); ++y) residual[y] -= beta_ * log_ratio_[y];
    auto const [low, high] = std::minmax_element(residual.begin(), residual.end());
    return *high - *low;
  }

 private:
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  [[nodiscard]] double weight(double reward_gap, double fitted_gap) const {
    if (sampler_ == pair_sampler::uniform) return 4;
    double const d = sampler_ == pair_sampler::mix_reward ? reward_gap : fitted_gap;
    return 2 + std::exp(d) + std::exp(-d);
  }

  vector reward_;
  double beta_;
  pair_sampler sampler_;
  vector log_ratio_;
};

}  // namespace kedge::lab
