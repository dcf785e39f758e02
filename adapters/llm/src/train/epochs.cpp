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
#include "paged_state.hpp"
#include "stop_watch.hpp"
#include "trained_parameters.hpp"

namespace kedge::llm {
namespace {

lr_schedule schedule_of(run_settings const& s, std::size_t total) {
  double const warmup = s.warmup_steps > 0 ? s.warmup_steps : std::ceil(s.warmup_ratio * static_cast<double>(total));
  return {s.lr_scheduler_type, s.learning_rate, warmup, total, s.lr_kwargs};
}

std::size_t steps_of_epoch(run_settings const& s, std::size_t examples) { return (examples + s.batch() - 1) / s.batch(); }

// Numbers go by their bits: JSON knows no infinity.
std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }
double value_of(nlohmann::json const& bits) { return std::bit_cast<double>(bits.get<std::uint64_t>()); }

std::string as_text(step_report const& part) {
  nlohmann::json metrics = nlohmann::json::array();
  for (metric const& m : part.metrics) metrics.push_back({m.name, bits(m.value), m.processes, m.batches});
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
    for (auto const& m : one[4]) add(all, {m[0], value_of(m[1]), m[2].get<across>(), m[3].get<std::size_t>()});
  }
  return all;
}

}  // namespace

std::size_t epoch_solver::steps(std::size_t examples) const {
  if (settings_.max_steps > 0) return settings_.max_steps;
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(settings_.num_train_epochs * static_cast<double>(steps_of_epoch(settings_, examples)))));
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

epoch_solver::progress epoch_solver::start(pack const& own) const {
  optimizer const& optim = *settings_.optim;
  if (!optim.paged) return {optim.init(own)};
  return {paged_state(optim, own, settings_.paged_dir.empty() ? settings_.output_dir : settings_.paged_dir)};
}

double epoch_solver::learning_rate(std::size_t total) const {
  return schedule_of(settings_, run_steps_.value_or(total)).at(run_steps_ ? static_cast<std::size_t>(inside->optimizer.steps) : inside->step);
}

std::vector<std::size_t> epoch_solver::examples_of_step(std::size_t round, std::size_t examples) const {
  std::size_t const batch = settings_.batch(), per_epoch = steps_of_epoch(settings_, examples), first = inside->step % per_epoch * batch;
  std::vector<std::size_t> const places = order(round, inside->step / per_epoch, examples);
  auto const begin = places.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(batch, examples - first))};
}

step_report epoch_solver::mean_gradient(pack const& weights, std::span<std::size_t const> which, step_function const& step, step_gradient& gradient) const {
  step_report part = step(weights, which, gradient);
  gradient.finish();
  step_report report = over_all(data, std::move(part));
  report.grad_norm = gradient.norm();
  return report;
}

void epoch_solver::complete_theta() const {
  if (auto const parameters = running_.lock()) parameters->complete();
}

kedge::status epoch_solver::solve(causal_lm const& model, pack& theta, std::size_t examples, std::size_t round, step_function const& step) {
  at::NoGradGuard const no_grad;
  auto const parameters = std::make_shared<trained_parameters>(group_, model, names.empty() ? model.parameters() : names, theta, division);
  running_ = parameters;
  if (!inside) inside.emplace(start(parameters->own()));
  kedge::status const ended = take_steps(*parameters, examples, round, step);
  parameters->complete();
  if (ended != kedge::status::done) return ended;
  // Each knows its own part alone of θ.
  if (division.divides_weights() && group_.any(!std::isfinite(kedge::dot(theta, theta)))) return kedge::status::diverged;
  if (run_steps_)
    inside->step = 0;
  else
    inside.reset();
  return ended;
}

kedge::status epoch_solver::take_steps(trained_parameters& parameters, std::size_t examples, std::size_t round, step_function const& step) {
  optimizer_settings const numbers{settings_.weight_decay, settings_.adam_beta1, settings_.adam_beta2, settings_.adam_epsilon};
  std::size_t const total = steps(examples);
  while (inside->step < total) {
    stop_watch const watch;
    std::optional<timed> scope(phase::other);
    step_report report = mean_gradient(parameters.weights(), examples_of_step(round, examples), step, parameters.gradient());
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm)) return kedge::status::diverged;
    report.learning_rate = learning_rate(total);
    double const scale = clip_scale(report.grad_norm, settings_.max_grad_norm);
    report.add("grad_clipped", scale < 1 ? 1 : 0);  // averaged in the log: the share of steps
    parameters.move(*settings_.optim, numbers, inside->optimizer, report.learning_rate, scale);
    report.round = round + 1;
    report.step = ++inside->step;
    report.steps = total;
    report.epoch = static_cast<double>(inside->step) / static_cast<double>(steps_of_epoch(settings_, examples));
    report.ends_epoch = inside->step % steps_of_epoch(settings_, examples) == 0 || inside->step == total;
    seconds += watch.seconds();
    scope.reset();
    if (!on_step(report)) return kedge::status::stopped;
  }
  return kedge::status::done;
}

}  // namespace kedge::llm
