// SPDX-License-Identifier: Apache-2.0
#include "round_plan.hpp"

#include "../reference_schedule.hpp"

namespace kedge::llm {

schedule_settings schedule_of(round_settings const& r, bool adapter) {
  return {.reference = r.reference,
          .momentum = r.momentum,
          .alpha = r.alpha,
          .nesterov_s = r.nesterov_s,
          .kappa = r.kappa,
          .log_probs = r.extrapolate == extrapolated::log_probs,
          .adapter = adapter};
}

std::vector<loss_choice> losses_of(training_settings const& settings, round_settings const& rounds) {
  std::vector<loss_choice> losses;
  loss_settings own = settings.loss;
  for (double const beta : rounds.beta) {
    own.beta = beta;
    losses.push_back(make_loss(own));
  }
  if (losses.empty()) losses.push_back(make_loss(own));
  return losses;
}

std::int64_t kept_points(training_settings const& s, round_settings const& r) {
  return (r.momentum == momentum_choice::none ? 0 : 1) + kept_by(r.reference) + (r.sampling.eval_prompts.empty() ? 0 : 1) + (s.sync_ref_model ? 1 : 0);
}

double effective_beta(round_settings const& rounds, std::size_t count, double beta) {
  std::vector<double> betas = rounds.beta;
  betas.resize(count, betas.empty() ? beta : betas.back());
  return kedge::effective_beta(betas, momentum_of(schedule_of(rounds, false)));
}

}  // namespace kedge::llm
