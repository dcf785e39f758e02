// SPDX-License-Identifier: Apache-2.0
#include "labelled_problem.hpp"

#include <algorithm>
#include <numeric>

#include "../model/profile.hpp"

namespace kedge::llm {
namespace {

constexpr row_figures wanted{.entropy = true, .logits = true};

// Of each sequence of a batch.
std::vector<labelled_figures> figures_of(row_outputs const& rows, ragged_batch const& batch) {
  std::vector<labelled_figures> all(batch.sequences);
  for (std::size_t r = 0; r < rows.logp.size(); ++r) {
    labelled_figures& one = all[static_cast<std::size_t>(batch.sequence[r])];
    one.logp += rows.logp[r];
    one.entropy += rows.entropy[r];
    one.logits += rows.mean_logit[r];
  }
  return all;
}

}  // namespace

template <class F>
void labelled_problem::each_batch(causal_lm const& model, labelled_data const& data, std::span<std::size_t const> step, follows what, F&& f) const {
  std::vector<std::size_t> const mine = data.own_share(group_, step);
  auto const cuts = data.cut(mine, settings_.compute.micro_batch_tokens, what);
  for (auto const& micro : cuts) {
    std::optional<timed> scope(phase::data);
    ragged_batch const batch = data.pack(micro, what, model.shares_prefixes());
    scope.reset();
    f(micro, batch, &micro == &cuts.back());
  }
}

void labelled_problem::score(causal_lm const& reference, pack const& weights, std::span<std::size_t const> order, std::size_t step, scored_completions& to) const {
  auto const fill = [&](std::span<std::size_t const> which, follows what, std::vector<double>& logp) {
    each_batch(reference, to.data, which, what, [&](std::span<std::size_t const> micro, ragged_batch const& batch, bool) {
      std::vector<double> const of_batch = reference.log_probs(weights, batch);
      for (std::size_t i = 0; i < micro.size(); ++i) logp[micro[i]] = of_batch[i];
    });
  };
  if (to.data.size() == 0) return;
  to.own.assign(to.data.size(), 0);
  to.other.assign(estimates() ? to.data.size() : 0, 0);
  for (std::size_t first = 0; first < order.size(); first += step) {
    auto const which = order.subspan(first, std::min(step, order.size() - first));
    fill(which, follows::own, to.own);
    if (estimates()) fill(which, follows::other, to.other);
  }
  group_.sum(to.own);
  if (estimates()) group_.sum(to.other);
}

std::vector<double> labelled_problem::reference_of(scored_completions const& from, std::span<std::size_t const> micro, ragged_batch const& batch, follows what) const {
  if (moving && moving->moved()) return moving->log_probs(batch);
  std::vector<double> logp;
  for (std::size_t const i : micro) logp.push_back((what == follows::own ? from.own : from.other)[i]);
  return logp;
}

std::vector<unpaired_kto> labelled_problem::losses(pack const& weights, scored_completions const& from, std::span<std::size_t const> which,
                                                   step_batches const& batches) const {
  std::vector<unpaired_kto> all(batches.count(), {.beta = settings_.beta, .desirable_weight = settings_.desirable_weight, .undesirable_weight = settings_.undesirable_weight});
  if (!estimates()) return all;
  std::vector<double> ratios(which.size());  // by place in the step
  each_batch(model_, from.data, which, follows::other, [&](std::span<std::size_t const> micro, ragged_batch const& batch, bool) {
    std::vector<double> const logp = model_.log_probs(weights, batch), ref = reference_of(from, micro, batch, follows::other);
    for (std::size_t i = 0; i < micro.size(); ++i) ratios[batches.place(micro[i])] = logp[i] - ref[i];
  });
  group_.sum(ratios);
  for (std::size_t b = 0; b < all.size(); ++b) all[b].kl = kto_kl(batches.part(ratios, b));
  return all;
}

step_report labelled_problem::train_step(pack const& weights, scored_completions const& from, std::span<std::size_t const> which, step_gradient& gradient) const {
  labelled_metrics const metrics(from.data, which, settings_.batch() / settings_.gradient_accumulation_steps);
  std::vector<unpaired_kto> const loss = losses(weights, from, which, metrics.batches());
  step_report report;
  metrics.begin(report);
  for (unpaired_kto const& one : loss) report.add("kl", group_.leads() ? one.kl : 0, 1 / static_cast<double>(loss.size()));
  double const share = 1 / static_cast<double>(which.size());
  each_batch(model_, from.data, which, follows::own, [&](std::span<std::size_t const> micro, ragged_batch const& batch, bool last) {
    std::vector<double> const ref = reference_of(from, micro, batch, follows::own);
    auto [rows, pullback] = model_.forward_rows(weights, batch, wanted);
    std::vector<labelled_figures> const figures = figures_of(rows, batch);
    std::vector<double> cotangent;
    for (std::size_t i = 0; i < micro.size(); ++i) {
      auto const [value, slope] = loss[metrics.batches().of(micro[i])]({figures[i].logp, ref[i], from.data.desirable(micro[i])});
      report.loss += share * value;
      cotangent.push_back(share * slope);
      metrics.add(micro[i], figures[i], ref[i], settings_.beta, report);
      report.tokens += from.data.tokens(micro[i], follows::own);
    }
    report.examples += micro.size();
    pullback(cotangent, gradient.sum(), gradient.when_last(last));
  });
  report.padded_like_tokens = report.tokens;
  return report;
}

nlohmann::ordered_json labelled_problem::evaluate(pack const& weights, scored_completions const& from) const {
  std::vector<std::size_t> all(from.data.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  labelled_metrics const metrics(from.data, all, settings_.per_device_eval_batch_size * static_cast<std::size_t>(settings_.where.size));
  std::vector<unpaired_kto> const loss = losses(weights, from, all, metrics.batches());
  std::vector<double> logp(all.size()), ref(all.size()), entropy(all.size()), logits(all.size());
  each_batch(model_, from.data, all, follows::own, [&](std::span<std::size_t const> micro, ragged_batch const& batch, bool) {
    std::vector<double> const of_reference = reference_of(from, micro, batch, follows::own);
    std::vector<labelled_figures> const figures = figures_of(model_.rows(weights, batch, wanted), batch);
    for (std::size_t i = 0; i < micro.size(); ++i) {
      logp[micro[i]] = figures[i].logp;
      ref[micro[i]] = of_reference[i];
      entropy[micro[i]] = figures[i].entropy;
      logits[micro[i]] = figures[i].logits;
    }
  });
  for (auto* const numbers : {&logp, &ref, &entropy, &logits}) group_.sum(*numbers);
  step_report report;
  metrics.begin(report);
  for (unpaired_kto const& one : loss) report.add("kl", one.kl, 1 / static_cast<double>(loss.size()));
  for (std::size_t const i : all) {
    report.loss += loss[metrics.batches().of(i)]({logp[i], ref[i], from.data.desirable(i)}).value / static_cast<double>(all.size());
    metrics.add(i, {logp[i], entropy[i], logits[i]}, ref[i], settings_.beta, report);
  }
  nlohmann::ordered_json figures{{"eval_loss", report.loss}};
  for (metric const& m : report.metrics) figures["eval_" + m.name] = m.value;
  return figures;
}

}  // namespace kedge::llm
