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

// The policy: log-probabilities of the votes, and what slopes in them are as slopes in θ. Only differences enter DPO's loss, so that
// softmax's normaliser may stay out.
struct survey {
  auto forward(logits const& theta, std::vector<vote> const& votes) const {
    kedge::pair_log_probs logp;
    for (auto [chosen, rejected] : votes) logp.chosen.push_back(theta[chosen]), logp.rejected.push_back(theta[rejected]);
    auto pullback = [&votes](kedge::pair_log_probs const& slope, logits& gradient) {
      for (std::size_t i = 0; i < votes.size(); ++i) {
        gradient[votes[i].chosen] += slope.chosen[i];
        gradient[votes[i].rejected] += slope.rejected[i];
      }
    };
    return kedge::forward_result{logp, pullback};
  }
};

int main() {
  std::vector<vote> const votes{{0, 1}, {0, 1}, {1, 0}, {1, 2}, {1, 2}, {2, 1}};  // each answer beats the next two to one
  kedge::policy_problem problem{survey{}, kedge::dpo{.beta = 1}, kedge::sgd{.rate = 4}, votes, 500};
  kedge::constant_momentum const rule{.alpha = 0.3};
  kedge::extrapolated_weights const schedule{rule};
  kedge::state state(logits(3, 0.0), schedule);
  if (kedge::run(state, schedule, problem, 3) != kedge::status::done) return 1;

  double const moved = (state.theta[0] - state.theta[1]) / std::log(2.0);  // one exact round moves ln 2
  double const expected = kedge::accumulated_steps(rule, 3);
  std::printf("three rounds with momentum 0.3 moved as far as %.6f plain ones; theory says %.6f\n", moved, expected);
  return std::abs(moved - expected) < 1e-6 ? 0 : 1;
}
