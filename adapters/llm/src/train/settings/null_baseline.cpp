// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include <kedge/baseline.hpp>
#include <kedge/llm/train/null_baseline.hpp>

namespace kedge::llm {
namespace {

// p: a step is so homogeneous in the gradient.
double gradient_degree(optimizer_choice const& optimizer) {
  std::string_view const name = optimizer.name();
  if (name == "sgd") return 1;
  if (name.starts_with("adamw")) return 0;
  throw usage_error("--null both: it isn't known how the steps of --optim " + std::string(name) +
                    " follow the scale of gradients; use AdamW or sgd, or --null rate");
}

// s: the loss is β^{−s} times a function of β times the margin.
double loss_degree(loss_settings const& loss) {
  constexpr std::array scaled{"sigmoid", "hinge", "robust", "cdpo", "exo_pair", "sigmoid_norm"};
  constexpr std::array squared{"ipo", "ipo_sum"};
  double degree = -1;
  for (std::string const& name : loss.loss_type) {
    double const one = std::ranges::find(scaled, name) != scaled.end()     ? 0
                       : std::ranges::find(squared, name) != squared.end() ? 2
                                                                           : -1;
    if (one < 0 || (degree >= 0 && one != degree))
      throw usage_error(
          "--null both: the loss has to be one function of beta times the margin, as sigmoid, hinge, robust, cdpo, exo_pair, "
          "sigmoid_norm, ipo and ipo_sum are; " +
          std::string(one < 0 ? "it isn't so of " + name : "these are of two kinds") +
          "; --null beta and --null rate take any");
    degree = one;
  }
  return degree;
}

null_kind kind_of(null_choice choice) {
  return choice == null_choice::beta ? null_kind::beta : choice == null_choice::rate ? null_kind::rate : null_kind::both;
}

}  // namespace

double make_null_baseline(training_settings& settings, round_settings& rounds, std::size_t count, null_choice choice) {
  if (choice == null_choice::none) return 1;
  if (rounds.reference.what != reference_kind::hand_off)
    throw usage_error("--null: it is the null baseline of momentum with --reference hand-off; leave out --reference");
  round_settings unit = rounds;
  unit.beta.clear();
  double const ratio = 1 / effective_beta(unit, count, 1);
  bool const both = choice == null_choice::both;
  baseline_factors const f =
      longer_rounds(ratio, both ? gradient_degree(settings.optim) : 0, both ? loss_degree(settings.loss) : 0, kind_of(choice));
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
