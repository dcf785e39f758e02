// SPDX-License-Identifier: Apache-2.0
#include "preference_problem.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include <kedge/llm/train/lr_schedule.hpp>

namespace kedge::llm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Fisher–Yates with a generator of our own seed: the same order with every standard library.
void shuffle(std::vector<std::size_t>& order, std::mt19937_64 random) {
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
}

}  // namespace

pair_log_probs split_pairs(std::vector<double> const& logp) {
  pair_log_probs pairs;
  for (std::size_t i = 0; i + 1 < logp.size(); i += 2) {
    pairs.chosen.push_back(logp[i]);
    pairs.rejected.push_back(logp[i + 1]);
  }
  return pairs;
}

pair_log_probs pair_scores(causal_lm const& model, pack const& weights, std::span<preference_pair const> pairs,
                           std::span<std::size_t const> which) {
  return split_pairs(model.log_probs(weights, pack_pairs(pairs, which)));
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

preference_problem::preference_problem(causal_lm const& model, training_settings const& settings, loss_choice loss,
                                       std::vector<std::vector<preference_pair>> rounds)
    : model_(model), settings_(settings), loss_(std::move(loss)), rounds_(std::move(rounds)) {}

adamw::settings preference_problem::optimizer_settings() const {
  return {settings_.adam_beta1, settings_.adam_beta2, settings_.adam_epsilon, settings_.weight_decay};
}

std::size_t preference_problem::steps_of_round(std::size_t round) const {
  if (settings_.max_steps > 0) return settings_.max_steps;
  std::size_t const batch = settings_.per_device_train_batch_size * settings_.gradient_accumulation_steps;
  std::size_t const per_epoch = (rounds_[round].size() + batch - 1) / batch;
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(settings_.num_train_epochs * static_cast<double>(per_epoch))));
}

std::size_t preference_problem::all_steps() const {
  std::size_t sum = 0;
  for (std::size_t round = 0; round < rounds_.size(); ++round) sum += steps_of_round(round);
  return sum;
}

std::vector<std::size_t> preference_problem::epoch_order(std::size_t round, std::size_t epoch, std::size_t pairs) const {
  std::vector<std::size_t> order(pairs);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (settings_.shuffle) {
    std::seed_seq seed{settings_.seed, std::uint64_t{round}, std::uint64_t{epoch}};
    shuffle(order, std::mt19937_64(seed));
  }
  return order;
}

std::vector<std::span<std::size_t const>> preference_problem::micro_batches(std::vector<preference_pair> const& pairs,
                                                                           std::span<std::size_t const> step) const {
  if (loss_.compares_pairs) return {step};
  return cut_micro_batches(pairs, step, settings_.compute.micro_batch_tokens);
}

pair_log_probs preference_problem::score(pack const& theta, std::vector<preference_pair> const& pairs) {
  auto const begin = std::chrono::steady_clock::now();
  auto const round = static_cast<std::size_t>(
      std::find_if(rounds_.begin(), rounds_.end(), [&](auto const& r) { return &r == &pairs; }) - rounds_.begin());
  pack const weights = model_.weights_for(theta);
  std::vector<std::size_t> const order = epoch_order(round, 0, pairs.size());
  std::size_t const batch = settings_.per_device_train_batch_size * settings_.gradient_accumulation_steps;
  pair_log_probs result{std::vector<double>(pairs.size()), std::vector<double>(pairs.size())};
  for (std::size_t first = 0; first < order.size(); first += batch) {
    std::span<std::size_t const> const step(order.data() + first, std::min(batch, order.size() - first));
    for (auto const which : micro_batches(pairs, step)) {
      pair_log_probs const part = pair_scores(model_, weights, pairs, which);
      for (std::size_t i = 0; i < which.size(); ++i) {
        result.chosen[which[i]] = part.chosen[i];
        result.rejected[which[i]] = part.rejected[i];
      }
    }
  }
  score_seconds += seconds_since(begin);
  return result;
}

step_report preference_problem::train_step(pack const& weights, std::vector<preference_pair> const& pairs,
                                           std::span<std::size_t const> which, pair_log_probs const& reference,
                                           pack& gradient) const {
  step_report report;
  report.pairs = which.size();
  auto const share = 1 / static_cast<double>(which.size());
  for (auto const micro : micro_batches(pairs, which)) {
    auto [logp, pullback] = model_.forward(weights, pack_pairs(pairs, micro));
    loss_input const input(split_pairs(logp), reference, pairs, micro);
    loss_and_cotangent const loss = loss_.evaluate(input.view(), which.size());
    std::vector<double> cotangent;
    for (std::size_t i = 0; i < micro.size(); ++i) {
      cotangent.push_back(loss.cotangent.chosen[i]);
      cotangent.push_back(loss.cotangent.rejected[i]);
      double const a = loss_.beta * (input.logp.chosen[i] - input.ref.chosen[i]);
      double const b = loss_.beta * (input.logp.rejected[i] - input.ref.rejected[i]);
      report.rewards_chosen += share * a;
      report.rewards_rejected += share * b;
      report.accuracy += a > b ? share : 0;
      report.logps_chosen += share * input.logp.chosen[i];
      report.logps_rejected += share * input.logp.rejected[i];
      report.tokens += shared_tokens(pairs[micro[i]]);
      report.padded_like_tokens += shared_tokens(pairs[micro[i]]) + pairs[micro[i]].prompt.size();
    }
    report.loss += loss.value;
    pullback(cotangent, gradient);
  }
  return report;
}

kedge::status preference_problem::solve(pack& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference,
                                        std::size_t round) {
  at::NoGradGuard const no_grad;
  if (!inside) inside.emplace(progress{adamw(theta, optimizer_settings()), 0});
  pack const weights = model_.weights_for(theta);
  bool const copies = !weights.front().is_same(theta.front());
  pack gradient;
  for (at::Tensor const& t : theta) gradient.push_back(at::zeros_like(t));
  std::size_t const batch = settings_.per_device_train_batch_size * settings_.gradient_accumulation_steps;
  std::size_t const per_epoch = (pairs.size() + batch - 1) / batch, total = steps_of_round(round);
  std::size_t const warmup = settings_.warmup_steps > 0
                                 ? settings_.warmup_steps
                                 : static_cast<std::size_t>(std::ceil(settings_.warmup_ratio * static_cast<double>(total)));
  lr_schedule const schedule{settings_.lr_scheduler_type, settings_.learning_rate, warmup, total};
  while (inside->step < total) {
    auto const begin = std::chrono::steady_clock::now();
    std::vector<std::size_t> const order = epoch_order(round, inside->step / per_epoch, pairs.size());
    std::size_t const first = inside->step % per_epoch * batch;
    std::span<std::size_t const> const which(order.data() + first, std::min(batch, order.size() - first));
    at::_foreach_zero_(gradient);
    step_report report = train_step(weights, pairs, which, reference, gradient);
    report.grad_norm = clip_gradients(gradient, settings_.max_grad_norm);
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) return kedge::status::diverged;
    report.learning_rate = schedule.at(inside->step);
    inside->optimizer.step(theta, gradient, report.learning_rate);
    if (copies) at::_foreach_copy_(weights, theta);
    report.round = round + 1;
    report.step = ++inside->step;
    report.steps = total;
    report.epoch = static_cast<double>(inside->step) / static_cast<double>(per_epoch);
    solve_seconds += seconds_since(begin);
    if (!on_step(report)) return kedge::status::stopped;
  }
  inside.reset();
  return kedge::status::done;
}

}  // namespace kedge::llm
