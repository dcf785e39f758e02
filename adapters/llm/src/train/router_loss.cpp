// SPDX-License-Identifier: Apache-2.0
#include "router_loss.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

void add(expert_use& sum, expert_use const& part) {
  sum.chosen.resize(part.chosen.size());
  sum.probabilities.resize(part.chosen.size());
  std::transform(part.chosen.begin(), part.chosen.end(), sum.chosen.begin(), sum.chosen.begin(), std::plus<>());
  std::transform(part.probabilities.begin(), part.probabilities.end(), sum.probabilities.begin(), sum.probabilities.begin(), std::plus<>());
  sum.tokens += part.tokens;
}

}  // namespace

router_loss::router_loss(transformer_config const& config, std::optional<double> coefficient, process_group group)
    : experts_(static_cast<double>(config.experts.count)), group_(std::move(group)) {
  bool there = false;
  for (std::int64_t i = 0; i < config.layers; ++i) there = there || config.has_experts(i);
  if (!there && coefficient.value_or(0) != 0)
    throw error("--router_aux_loss_coef: no layer of the model has experts, so that there is no such loss; leave it out");
  if (there) coefficient_ = coefficient.value_or(config.experts.aux_loss);
}

std::optional<expert_use> router_loss::before(std::size_t passes, std::function<row_outputs(std::size_t)> const& pass) const {
  if (coefficient_ == 0 || (passes == 1 && group_.alone())) return {};
  expert_use step;
  step.chosen.resize(static_cast<std::size_t>(experts_));
  step.probabilities.resize(step.chosen.size());
  for (std::size_t i = 0; i < passes; ++i) add(step, pass(i).routing);
  std::vector<double> tokens{step.tokens};
  for (std::vector<double>* const numbers : {&step.chosen, &step.probabilities, &tokens}) group_.sum(*numbers);
  step.tokens = tokens.front();
  return step;
}

double router_loss::value(expert_use const& step) const {
  double sum = 0;
  for (std::size_t e = 0; e < step.chosen.size(); ++e) sum += step.chosen[e] * step.probabilities[e];
  return experts_ * sum / (step.tokens * step.tokens);
}

std::vector<double> router_loss::slopes(expert_use const& step) const {
  std::vector<double> slopes;
  for (double const chosen : step.chosen) slopes.push_back(coefficient_ * experts_ * chosen / (step.tokens * step.tokens));
  return slopes;
}

void router_loss::report(expert_use const& step, step_report& report) const {
  double const loss = group_.leads() ? value(step) : 0;
  report.loss += coefficient_ * loss;
  report.add("aux_loss", loss, 1);
}

}  // namespace kedge::llm
