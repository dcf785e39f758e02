// SPDX-License-Identifier: Apache-2.0
#include "preference_problem.hpp"

#include <algorithm>
#include <optional>

#include "../model/profile.hpp"
#include "margin_probe.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
pair_log_probs split_pairs(std::vector<double> const& logp) {
  pair_log_probs pairs;
  for (std::size_t i = 0; i + 1 < logp.size(); i += 2) {
    pairs.chosen.push_back(logp[i]);
    pairs.rejected.push_back(logp[i + 1]);
  }
  return pairs;
}

ragged_batch packed_pairs(causal_lm const& model, std::span<preference_pair const> pairs, std::span<std::size_t const> which, read_at where) {
  timed const scope(phase::data);
  return pack_pairs(pairs, which, where, model.shares_prefixes());
}

void put(pair_log_probs const& part, std::span<std::size_t const> which, pair_log_probs& all) {
  for (std::size_t i = 0; i < which.size(); ++i) {
    all.chosen[which[i]] = part.chosen[i];
    all.rejected[which[i]] = part.rejected[i];
  }
}

void score_each(causal_lm const& model, pack const& weights, std::span<preference_pair const> pairs,
                std::span<std::span<std::size_t const> const> micro_batches, pair_log_probs& all) {
  for (auto const which : micro_batches)
    if (!which.empty()) put(split_pairs(model.log_probs(weights, packed_pairs(model, pairs, which))), which, all);
}

loss_input::loss_input(pair_log_probs values, pair_log_probs const& reference, std::span<preference_pair const> pairs,
                       std::span<std::size_t const> which)
    : logp(std::move(values)) {
  for (std::size_t const i : which) {
    ref.chosen.push_back(reference.chosen[i]);
    ref.rejected.push_back(reference.rejected[i]);
    tokens_chosen.push_back(static_cast<double>(pairs[i].chosen.size()));
    tokens_rejected.push_back(static_cast<double>(pairs[i].rejected.size()));
    score_chosen.push_back(pairs[i].score_chosen);
    score_rejected.push_back(pairs[i].score_rejected);
  }
}

preference_problem::preference_problem(causal_lm const& model, training_settings const& settings, std::vector<loss_choice> losses, pair_source source,
                                       process_group group)
    : solver(settings, group), model_(model), settings_(settings), losses_(std::move(losses)), ask_(std::move(source)), group_(std::move(group)) {}

std::vector<preference_pair> const& preference_problem::source(training_state const& state) {
  if (state.round != round_) {
    pairs_ = ask_(state);
    round_ = state.round;
    std::vector<double> weights;
    for (auto const& term : state.anchor) weights.push_back(term.weight);
    if (weights.empty()) weights.push_back(1);
    if (probe) probe->begin(pairs_.size(), solver.steps(pairs_.size()) * settings_.batch(), std::move(weights));
  }
  return pairs_;
}

std::vector<std::span<std::size_t const>> preference_problem::micro_batches(std::vector<preference_pair> const& pairs,
                                                                           std::span<std::size_t const> step) const {
  if (loss().compares_pairs) return {step};
  return cut_micro_batches(pairs, step, settings_.compute.micro_batch_tokens);
}

std::vector<std::size_t> own_share(process_group const& group, std::span<preference_pair const> pairs, std::span<std::size_t const> step) {
  return balanced_share(step, group.rank(), group.size(), [&](std::size_t i) { return shared_tokens(pairs[i]); });
}

pair_log_probs preference_problem::score(pack const& theta, std::vector<preference_pair> const& pairs) {
  if (probe) probe->add(theta, pairs);
  stop_watch const watch;
  timed const scope(phase::other);
  pack const weights = model_.weights_for(theta);
  std::vector<std::size_t> const order = solver.order(round_, 0, pairs.size());
  std::size_t const batch = settings_.batch();
  pair_log_probs result{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  for (std::size_t first = 0; first < order.size(); first += batch) {
    std::vector<std::size_t> const mine = own_share(group_, pairs, std::span(order).subspan(first, std::min(batch, order.size() - first)));
    score_each(model_, weights, pairs, micro_batches(pairs, mine), result);
  }
  group_.sum(result.chosen);
  group_.sum(result.rejected);
  score_seconds += watch.seconds();
  return result;
}

step_report preference_problem::train_step(pack const& weights, std::vector<preference_pair> const& pairs,
                                           std::span<std::size_t const> which, pair_log_probs const& reference,
                                           step_gradient& gradient) const {
  step_report report;
  std::vector<std::size_t> const mine = own_share(group_, pairs, which);
  report.examples = mine.size();
  auto const share = 1 / static_cast<double>(which.size());
  auto const cuts = micro_batches(pairs, mine);
  for (auto const& micro : cuts) {
    std::optional<causal_lm::forward_result> now;
    if (!micro.empty()) now.emplace(model_.forward(weights, packed_pairs(model_, pairs, micro)));
    loss_input const input(now ? split_pairs(now->logp) : pair_log_probs{}, reference, pairs, micro);
    loss_and_cotangent const value = loss().compares_pairs && !group_.alone() ? compare_all(input, reference, pairs, which, micro)
                                                                              : loss().evaluate(input.view(), which.size());
    std::vector<double> cotangent;
    for (std::size_t i = 0; i < micro.size(); ++i) {
      cotangent.push_back(value.cotangent.chosen[i]);
      cotangent.push_back(value.cotangent.rejected[i]);
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
    report.loss += value.value;
    if (now) now->pullback(cotangent, gradient.sum(), gradient.when_last(&micro == &cuts.back()));
  }
  return report;
}

loss_and_cotangent preference_problem::compare_all(loss_input const& own, pair_log_probs const& reference,
                                                   std::vector<preference_pair> const& pairs, std::span<std::size_t const> step,
                                                   std::span<std::size_t const> mine) const {
  pair_log_probs logp{std::vector<double>(step.size()), std::vector<double>(step.size())};
  std::vector<std::size_t> places;  // of the own pairs in the step, whose order they keep
  for (std::size_t place = 0; place < step.size() && places.size() < mine.size(); ++place) {
    if (step[place] != mine[places.size()]) continue;
    logp.chosen[place] = own.logp.chosen[places.size()];
    logp.rejected[place] = own.logp.rejected[places.size()];
    places.push_back(place);
  }
  group_.sum(logp.chosen);
  group_.sum(logp.rejected);
  loss_and_cotangent const all = loss().evaluate(loss_input(std::move(logp), reference, pairs, step).view(), step.size());
  loss_and_cotangent part;
  part.value = group_.leads() ? all.value : 0;
  for (std::size_t const place : places) {
    part.cotangent.chosen.push_back(all.cotangent.chosen[place]);
    part.cotangent.rejected.push_back(all.cotangent.rejected[place]);
  }
  return part;
}

kedge::status preference_problem::solve(pack& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference,
                                        std::size_t round) {
  kedge::status const ended =
      solver.solve(model_, theta, pairs.size(), round, [&](pack const& weights, std::span<std::size_t const> which, step_gradient& gradient) {
        return train_step(weights, pairs, which, reference, gradient);
      });
  if (probe && ended == kedge::status::done) noise = probe->measure(theta, pairs, reference);
  return ended;
}

}  // namespace kedge::llm
