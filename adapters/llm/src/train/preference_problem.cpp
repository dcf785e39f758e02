// SPDX-License-Identifier: Apache-2.0
#include "preference_problem.hpp"

#include <algorithm>
#include <optional>

#include <kedge/llm/base/error.hpp>

#include "../model/profile.hpp"
#include "margin_probe.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {

preference_problem::preference_problem(causal_lm const& model, training_settings const& settings, std::vector<loss_choice> losses, pair_source source,
                                       process_group group, process_group data)
    : solver(settings, std::move(group)), model_(model), settings_(settings), losses_(std::move(losses)), ask_(std::move(source)), data_(std::move(data)),
      router_(model.config(), settings.router_aux_loss_coef, data_) {
  solver.data = data_;
  solver.division = model;
  if (settings.sync_ref_model) moving.emplace(model, settings.ref_model_mixup_alpha, settings.ref_model_sync_steps);
}

std::vector<preference_pair> const& preference_problem::source(training_state const& state) {
  if (state.round != round_) {
    pairs_ = ask_(state);
    round_ = state.round;
    given_ = round_ == 0 && have_reference(*pairs_);
    std::vector<double> weights;
    for (auto const& term : state.anchor) weights.push_back(term.weight);
    if (weights.empty()) weights.push_back(1);
    // Of a reference that comes with the pairs there is no point that the probe could compute in fp32.
    if (probe) probe->begin(given_ ? 0 : pairs_->size(), solver.steps(pairs_->size()) * settings_.batch(), std::move(weights));
  }
  return *pairs_;
}

std::vector<std::span<std::size_t const>> preference_problem::micro_batches(std::vector<preference_pair> const& pairs,
                                                                           std::span<std::size_t const> step) const {
  if (loss().compares_pairs) return {step};
  return cut_micro_batches(pairs, step, settings_.compute.micro_batch_tokens);
}

pair_log_probs preference_problem::score(pack const& theta, std::vector<preference_pair> const& pairs) {
  if (given_) return given_reference(pairs);
  if (probe) probe->add(theta, pairs);
  if (moving) moving->begin(theta, round_);
  stop_watch const watch;
  timed const scope(phase::other);
  pack const weights = model_.weights_for(theta);
  pair_log_probs result{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  std::vector<std::size_t> const order = solver.order(round_, 0, pairs.size());
  std::size_t const batch = settings_.batch();
  for (std::size_t first = 0; first < order.size(); first += batch) {
    std::vector<std::size_t> const mine = own_share(data_, pairs, std::span(order).subspan(first, std::min(batch, order.size() - first)));
    score_each(model_, weights, pairs, micro_batches(pairs, mine), result, settings_.ld_alpha);
  }
  data_.sum(result.chosen);
  data_.sum(result.rejected);
  score_seconds += watch.seconds();
  return result;
}

step_report preference_problem::train_step(pack const& weights, std::vector<preference_pair> const& pairs,
                                           std::span<std::size_t const> which, pair_log_probs const& reference,
                                           step_gradient& gradient) const {
  step_report report;
  std::vector<std::size_t> const mine = own_share(data_, pairs, which);
  report.examples = mine.size();
  token_counter tokens(pairs, which, settings_.batch() / settings_.gradient_accumulation_steps);
  auto const cuts = micro_batches(pairs, mine);
  auto const packed = [&](std::span<std::size_t const> micro) { return packed_pairs(model_, pairs, micro, read_at::every_token, settings_.ld_alpha); };
  bool const routing{router_};
  std::optional<expert_use> use = router_.before(mine.empty() ? 0 : cuts.size(), [&](std::size_t i) { return model_.rows(weights, packed(cuts[i]), {.routing = true}); });
  for (auto const& micro : cuts) {
    loss_input input(pairs, micro);
    std::optional<causal_lm::row_result> now;
    if (!micro.empty()) {
      ragged_batch const batch = packed(micro);
      input.ref = moving && moving->moved() ? split_pairs(moving->log_probs(batch)) : at_places(reference, micro);
      now.emplace(model_.forward_rows(weights, batch, {.entropy = true, .log_squares = settings_.use_weighting, .logits = true, .routing = routing}));
      if (routing && !use) use = now->out.routing;
      tokens.add(now->out, batch, micro);
      input.logp = split_pairs(sums_by_sequence(now->out.logp, batch));
      if (settings_.use_weighting) input.weights = weights_by_policy(now->out, batch);
    }
    loss_and_cotangent const value = loss().compares_pairs && !data_.alone() ? compare_all(input, pairs, which, micro)
                                                                              : loss().evaluate(input.view(), which.size());
    report.loss += value.value;
    report_on(pairs, micro, input, 1 / static_cast<double>(which.size()), report);
    if (now)
      now->pullback(joined_pairs(value.cotangent), gradient.sum(), gradient.when_last(&micro == &cuts.back()),
                    use ? router_.slopes(*use) : std::vector<double>());
  }
  if (use) router_.report(*use, report);
  report.add("logits/chosen", tokens.figures().logits_chosen);
  report.add("logits/rejected", tokens.figures().logits_rejected);
  report.add("entropy", tokens.figures().entropy);
  report.add("mean_token_accuracy", tokens.figures().accuracy);
  return report;
}

void preference_problem::report_on(std::vector<preference_pair> const& pairs, std::span<std::size_t const> micro, loss_input const& input,
                                   double share, step_report& report) const {
  for (std::size_t i = 0; i < micro.size(); ++i) {
    double const a = loss().beta * (input.logp.chosen[i] - input.ref.chosen[i]);
    double const b = loss().beta * (input.logp.rejected[i] - input.ref.rejected[i]);
    report.add("rewards/chosen", a, share);
    report.add("rewards/rejected", b, share);
    report.add("rewards/margins", a - b, share);
    report.add("rewards/accuracies", a > b ? 1 : 0, share);
    report.add("logps/chosen", input.logp.chosen[i], share);
    report.add("logps/rejected", input.logp.rejected[i], share);
    report.tokens += shared_tokens(pairs[micro[i]]);
    report.padded_like_tokens += shared_tokens(pairs[micro[i]]) + pairs[micro[i]].prompt.size();
  }
}

loss_and_cotangent preference_problem::compare_all(loss_input const& own, std::vector<preference_pair> const& pairs, std::span<std::size_t const> step,
                                                   std::span<std::size_t const> mine) const {
  loss_input all(pairs, step);
  if (settings_.use_weighting) all.weights.resize(step.size());
  std::vector<std::size_t> places;  // of the own pairs in the step, whose order they keep
  for (std::size_t place = 0; place < step.size() && places.size() < mine.size(); ++place)
    if (step[place] == mine[places.size()]) places.push_back(place);
  put(own.logp, places, all.logp);
  put(own.ref, places, all.ref);
  for (std::size_t i = 0; i < own.weights.size(); ++i) all.weights[places[i]] = own.weights[i];
  for (auto* const numbers : {&all.logp.chosen, &all.logp.rejected, &all.ref.chosen, &all.ref.rejected, &all.weights}) data_.sum(*numbers);
  loss_and_cotangent const value = loss().evaluate(all.view(), step.size());
  return {data_.leads() ? value.value : 0, at_places(value.cotangent, places)};
}

kedge::status preference_problem::solve(pack& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference,
                                        std::size_t round) {
  if (reference.chosen.size() != pairs.size() || reference.rejected.size() != pairs.size())
    throw error("the reference has " + std::to_string(reference.chosen.size()) + " log-probabilities for " + std::to_string(pairs.size()) +
                " pairs; it belongs to other data: start anew");
  kedge::status const ended =
      solver.solve(model_, theta, pairs.size(), round, [&](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
        auto const whole_theta = [&]() -> pack const& {
          solver.complete_theta();
          return theta;
        };
        if (moving) moving->follow(whole_theta, solver.inside->step);
        return train_step(weights, pairs, which, reference, gradient);
      });
  if (probe && ended == kedge::status::done) noise = probe->measure(theta, pairs, reference);
  return ended;
}

}  // namespace kedge::llm
