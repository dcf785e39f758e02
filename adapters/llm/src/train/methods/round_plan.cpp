// SPDX-License-Identifier: Apache-2.0
#include "round_plan.hpp"

#include <algorithm>

#include <kedge/llm/base/error.hpp>

#include "../own_reference.hpp"
#include "../reference_schedule.hpp"

namespace kedge::llm {

schedule_settings schedule_of(round_settings const& r, std::size_t products) {
  return {.reference = r.reference,
          .momentum = r.momentum,
          .alpha = r.alpha,
          .nesterov_s = r.nesterov_s,
          .kappa = r.kappa,
          .log_probs = r.extrapolate == extrapolated::log_probs,
          .products = products};
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

nlohmann::ordered_json about_rounds(round_settings const& rounds, std::vector<loss_choice> const& losses,
                                    std::span<std::shared_ptr<std::vector<preference_pair> const> const> pairs, std::size_t count) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (std::size_t t = 0; t < count; ++t) {
    all.push_back({{"beta", losses[std::min(t, losses.size() - 1)].beta}, {"effective_beta", effective_beta(rounds, t + 1, losses.front().beta)}});
    if (!pairs.empty()) all.back()["pairs"] = pairs[t]->size();
  }
  return all;
}

std::int64_t kept_points(training_settings const& s, round_settings const& r) {
  return (r.momentum == momentum_choice::none ? 0 : 1) + kept_by(r.reference) + (r.sampling.eval_prompts.empty() ? 0 : 1) + (s.sync_ref_model ? 1 : 0);
}

double effective_beta(round_settings const& rounds, std::size_t count, double beta) {
  std::vector<double> betas = rounds.beta;
  betas.resize(count, betas.empty() ? beta : betas.back());
  return kedge::effective_beta(betas, momentum_of(schedule_of(rounds, false)));
}

void check_rounds(training_settings s, round_settings r) {
  settings_of(s, r).check_ranges();
  require(!s.dataset.empty() || r.online(), "--dataset is missing; give a JSONL file of preference pairs, or --prompts and --judge");
  require(s.dataset.empty() || !r.online(), "--dataset and --prompts exclude each other: pairs come from a file or are sampled");
  require(!r.alpha.empty(), "--alpha is empty; give one or several");
  require(r.chunks == 0 || s.dataset.size() == 1, "--chunks cuts one data set; give one file, or leave --chunks out and give one file a round");
  check_reference(s, r);
  if (!r.online()) return;
  require(r.sample_from == sampled_policy::weights || (r.extrapolate == extrapolated::log_probs && r.momentum != momentum_choice::none),
          "--sample_from mixture samples from two models' log-probabilities; it goes with --extrapolate log-probs");
}

void check_extrapolated(lora_settings const& adapter, training_settings const& settings, round_settings const& rounds) {
  if (rounds.momentum == momentum_choice::none && !settings.sync_ref_model) return;
  if (adapter.dora) throw error("--use_dora: weights between or beyond two DoRA adapters are no DoRA adapter; leave --momentum and --sync_ref_model out, or train LoRA");
  if (!adapter.target_parameters.empty())
    throw error("--lora_target_parameters: adapters of stacked experts are neither extrapolated nor mixed; leave --momentum and --sync_ref_model out, or train maps alone");
}

}  // namespace kedge::llm
