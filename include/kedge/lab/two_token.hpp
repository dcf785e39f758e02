// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>

#include <kedge/lab/tabular.hpp>

// The smallest autoregressive model: two tokens of {a, b}. Extrapolating its weights extrapolates each conditional by itself
// and normalises each, which is not the extrapolation of the sequence's probability.                    docs/math.md (11)

namespace kedge::lab {

/// log p(a), log p(a|a), log p(a|b) as logits of a over b.
struct two_token_policy {
  double first, after_a, after_b;

  [[nodiscard]] static double logit(double p) { return std::log(p / (1 - p)); }
  [[nodiscard]] static two_token_policy from_probabilities(double a, double a_after_a, double a_after_b) {
    return {logit(a), logit(a_after_a), logit(a_after_b)};
  }

  /// Log-probabilities of aa, ab, ba, bb.
  [[nodiscard]] vector log_probs() const {
    auto const log_sigmoid = [](double x) { return -std::log1p(std::exp(-x)); };
    return {log_sigmoid(first) + log_sigmoid(after_a), log_sigmoid(first) + log_sigmoid(-after_a),
            log_sigmoid(-first) + log_sigmoid(after_b), log_sigmoid(-first) + log_sigmoid(-after_b)};
  }
};

/// π ∝ π̂ (π̂/π̂′)^α token by token: what extrapolated weights are.
[[nodiscard]] inline two_token_policy extrapolate_tokens(two_token_policy const& now, two_token_policy const& before,
                                                         double alpha) {
  auto ahead = [alpha](double x, double y) { return x + alpha * (x - y); };
  return {ahead(now.first, before.first), ahead(now.after_a, before.after_a), ahead(now.after_b, before.after_b)};
}

/// π ∝ π̂ (π̂/π̂′)^α of whole sequences: the paper's update, as normalised log-probabilities of aa, ab, ba, bb.
[[nodiscard]] inline vector extrapolate_sequences(two_token_policy const& now, two_token_policy const& before, double alpha) {
  vector logp = now.log_probs(), earlier = before.log_probs();
  for (std::size_t i = 0; i < logp.size(); ++i) logp[i] += alpha * (logp[i] - earlier[i]);
  return log_softmax(logp);
}

}  // namespace kedge::lab
