// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <kedge/baseline.hpp>
#include <kedge/llm/train/null_baseline.hpp>

#include "../../base/listed.hpp"
#include "../loss_registry.hpp"

namespace kedge::llm {
namespace {

// p: a step is so homogeneous in the gradient.
double gradient_degree(optimizer_choice const& optimizer) {
  if (auto const degree = optimizer.gradient_degree()) return *degree;
  throw usage_error("--null both: it isn't known how the steps of --optim " + std::string(optimizer.name()) +
                    " follow the scale of gradients; use AdamW or sgd, or --null rate");
}

// s: the loss is β^{−s} times a function of β times the margin.
double loss_degree(training_settings const& settings) {
  std::vector<std::string> fit;
  std::optional<double> degree;
  auto const refuse = [&](std::string const& why) {
    throw usage_error("--null both: the loss has to be one function of beta times the margin, as " + listed(fit) + " are; " +
                      why + "; --null beta and --null rate take any");
  };
  for (registered_loss const& row : registered_losses())
    if (row.margin_degree) fit.push_back(row.name.name);
  for (registered_loss const& row : registered_losses()) {
    if (std::ranges::find(settings.loss.loss_type, row.name.name) == settings.loss.loss_type.end()) continue;
    if (!row.margin_degree) refuse("it isn't so of " + row.name.name);
    if (degree && *degree != *row.margin_degree) refuse("these are of two kinds");
    degree = row.margin_degree;
  }
  if (settings.loss.f_divergence_type != f_divergence::reverse_kl)
    refuse("it isn't so under f_divergence_type " + std::string(name_of(settings.loss.f_divergence_type)));
  if (settings.use_weighting) refuse("use_weighting gives pairs weights that change with the policy");
  return degree.value_or(0);
}

null_kind kind_of(null_choice choice) {
  return choice == null_choice::beta ? null_kind::beta : choice == null_choice::rate ? null_kind::rate : null_kind::both;
}

}  // namespace

double make_null_baseline(training_settings& settings, round_settings& rounds) {
  if (rounds.null == null_choice::none) return 1;
  if (rounds.reference.what != reference_kind::hand_off)
    throw usage_error("--null: it is the null baseline of momentum with --reference hand-off; leave out --reference");
  if (rounds.null == null_choice::both && rounds.optimizer_span == optimizer_span::run)
    throw usage_error("--null both: it rests on an optimizer that begins anew each round; leave out --optimizer_span run");
  round_settings unit = rounds;
  unit.beta.clear();
  double const ratio = 1 / effective_beta(unit, round_count(settings, rounds), 1);
  bool const both = rounds.null == null_choice::both;
  baseline_factors const f =
      longer_rounds(ratio, both ? gradient_degree(settings.optim) : 0, both ? loss_degree(settings) : 0, kind_of(rounds.null));
  settings.loss.beta *= f.beta;
  for (double& beta : rounds.beta) beta *= f.beta;
  settings.learning_rate *= f.rate;
  settings.adam_epsilon *= f.gradient;
  settings.max_grad_norm *= f.gradient;
  rounds.momentum = momentum_choice::none;
  rounds.extrapolate = extrapolated::weights;
  rounds.sample_from = sampled_policy::weights;
  return ratio;
}

}  // namespace kedge::llm
