// SPDX-License-Identifier: Apache-2.0
#include "epochs.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/lr_schedule.hpp>

#include "../data/shuffle.hpp"
#include "../model/profile.hpp"
#include "stop_watch.hpp"

namespace kedge::llm {
namespace {

lr_schedule schedule_of(run_settings const& s, std::size_t total) {
  std::size_t const warmup =
      s.warmup_steps > 0 ? s.warmup_steps : static_cast<std::size_t>(std::ceil(s.warmup_ratio * static_cast<double>(total)));
  return {s.lr_scheduler_type, s.learning_rate, warmup, total};
}

// Numbers go by their bits: JSON knows no infinity.
std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }
double value_of(nlohmann::json const& bits) { return std::bit_cast<double>(bits.get<std::uint64_t>()); }

std::string as_text(step_report const& part) {
  nlohmann::json metrics = nlohmann::json::array();
  for (metric const& m : part.metrics) metrics.push_back({m.name, bits(m.value), m.processes});
  return nlohmann::json{bits(part.loss), part.examples, part.tokens, part.padded_like_tokens, metrics}.dump();
}

void add(step_report& report, metric const& part) {
  auto const found = std::find_if(report.metrics.begin(), report.metrics.end(), [&](metric const& m) { return m.name == part.name; });
  if (found == report.metrics.end())
    report.metrics.push_back(part);
  else if (part.processes == across::sum)
    found->value += part.value;
  else
    found->value = part.processes == across::least ? std::min(found->value, part.value) : std::max(found->value, part.value);
}

// The step's report from its parts, the same in all processes.
step_report over_all(process_group const& group, step_report part) {
  if (group.alone()) return part;
  step_report all;
  for (std::string const& text : group.gather(as_text(part))) {
    nlohmann::json const one = nlohmann::json::parse(text);
    all.loss += value_of(one[0]);
    all.examples += one[1].get<std::size_t>();
    all.tokens += one[2].get<std::size_t>();
    all.padded_like_tokens += one[3].get<std::size_t>();
    for (auto const& m : one[4]) add(all, {m[0], value_of(m[1]), m[2].get<across>()});
  }
  return all;
}

}  // namespace

std::size_t epoch_solver::steps(std::size_t examples) const {
  if (settings_.max_steps > 0) return settings_.max_steps;
  std::size_t const per_epoch = (examples + settings_.batch() - 1) / settings_.batch();
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(settings_.num_train_epochs * static_cast<double>(per_epoch))));
}

std::vector<std::size_t> epoch_solver::order(std::size_t round, std::size_t epoch, std::size_t examples) const {
  std::vector<std::size_t> order(examples);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (settings_.shuffle) {
    std::seed_seq seed{settings_.seed, std::uint64_t{round}, std::uint64_t{epoch}};
    shuffle(order, std::mt19937_64(seed));
  }
  return order;
}

epoch_solver::progress epoch_solver::start(pack const& theta) const {
  return {adamw(rows_of(theta, owned(theta)), {settings_.adam_beta1, settings_.adam_beta2, settings_.adam_epsilon, settings_.weight_decay,
                                               moments_of(settings_.optim)}), 0};
}

kedge::status epoch_solver::solve(causal_lm const& model, pack& theta, std::size_t examples, std::size_t round, step_function const& step) {
  at::NoGradGuard const no_grad;
  share_start(group_, theta);
  if (!inside) inside.emplace(start(theta));
  pack const weights = model.weights_for(theta);
  bool const copies = !weights.front().is_same(theta.front()), alone = group_.alone();
  step_gradient gradient(group_, model.parameters(), model.config().layers, theta);
  pack own = rows_of(theta, owned(theta)), own_gradient = rows_of(gradient.sum(), owned(theta));
  adamw::extras more{.zero_gradient = alone, .copies = copies && alone ? rows_of(weights, owned(theta)) : pack()};
  std::size_t const batch = settings_.batch(), per_epoch = (examples + batch - 1) / batch, total = steps(examples);
  lr_schedule const schedule = schedule_of(settings_, run_steps_.value_or(total));
  while (inside->step < total) {
    stop_watch const watch;
    std::optional<timed> scope(phase::other);
    std::vector<std::size_t> const places = order(round, inside->step / per_epoch, examples);
    std::size_t const first = inside->step % per_epoch * batch;
    if (!alone) gradient.zero();  // the optimiser leaves zeros where it owns all
    step_report report = step(weights, std::span(places).subspan(first, std::min(batch, examples - first)), gradient);
    gradient.finish();
    report = over_all(group_, std::move(report));
    report.grad_norm = norm_of(gradient.sum());
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) return kedge::status::diverged;
    report.learning_rate = schedule.at(run_steps_ ? static_cast<std::size_t>(inside->optimizer.steps) : inside->step);
    more.scale = clip_scale(report.grad_norm, settings_.max_grad_norm);
    inside->optimizer.step(own, own_gradient, report.learning_rate, more);
    exchange_shards(group_, theta);
    if (copies && !alone) {
      timed const copying(phase::optimizer);
      at::_foreach_copy_(weights, theta);
    }
    report.round = round + 1;
    report.step = ++inside->step;
    report.steps = total;
    report.epoch = static_cast<double>(inside->step) / static_cast<double>(per_epoch);
    seconds += watch.seconds();
    scope.reset();
    if (!on_step(report)) return kedge::status::stopped;
  }
  if (run_steps_)
    inside->step = 0;
  else
    inside.reset();
  return kedge::status::done;
}

}  // namespace kedge::llm
