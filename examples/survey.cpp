// SPDX-License-Identifier: Apache-2.0
// Accelerated preference optimization of three answers, on the core alone: no library but the standard one.
#include <cmath>
#include <cstdio>
#include <vector>

#include <kedge/kedge.hpp>

using logits = std::vector<double>;  // one number an answer; softmax makes them a policy
struct vote {
  std::size_t chosen, rejected;
};

// What the outer loop asks of a problem: the round's data, their log-probabilities, and a solver.
struct survey {
  std::vector<vote> votes{{0, 1}, {0, 1}, {1, 0}, {1, 2}, {1, 2}, {2, 1}};  // each answer beats the next two to one

  std::vector<vote> const& source(auto const&) const { return votes; }

  // Only differences enter DPO's loss, so that softmax's normaliser may stay out.
  kedge::pair_log_probs score(logits const& theta, std::vector<vote> const& data) const {
    kedge::pair_log_probs logp;
    for (auto [chosen, rejected] : data) logp.chosen.push_back(theta[chosen]), logp.rejected.push_back(theta[rejected]);
    return logp;
  }

  // One round: gradient descent against the log-probabilities of the anchor.
  kedge::status solve(logits& theta, std::vector<vote> const& data, kedge::pair_log_probs const& reference, std::size_t) const {
    for (int step = 0; step < 500; ++step) {
      auto const [loss, slope] = kedge::preference_loss(kedge::dpo{.beta = 1}, {score(theta, data), reference});
      if (!std::isfinite(loss)) return kedge::status::diverged;
      for (std::size_t i = 0; i < data.size(); ++i) {
        theta[data[i].chosen] -= 4 * slope.chosen[i];
        theta[data[i].rejected] -= 4 * slope.rejected[i];
      }
    }
    return kedge::status::done;
  }
};

int main() {
  survey problem;
  kedge::state<logits, kedge::pair_log_probs> state(logits(3, 0.0));
  kedge::constant_momentum const rule{.alpha = 0.3};
  kedge::run(state, kedge::extrapolated_weights{rule}, problem, 3);

  double const moved = (state.theta[0] - state.theta[1]) / std::log(2.0);  // one exact round moves ln 2
  double const expected = kedge::accumulated_steps(rule, 3);
  std::printf("three rounds with momentum 0.3 moved as far as %.6f plain ones; theory says %.6f\n", moved, expected);
  return std::abs(moved - expected) < 1e-6 ? 0 : 1;
}
