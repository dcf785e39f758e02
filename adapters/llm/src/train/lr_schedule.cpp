// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/lr_schedule.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string_view>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

struct kwarg {
  std::string_view name;
  std::optional<double> lr_scheduler_kwargs::*member;
  double least;  // of its range
  std::array<std::optional<lr_scheduler>, 3> readers;
};

using enum lr_scheduler;
constexpr std::array<kwarg, 6> all_kwargs{{{"num_cycles", &lr_scheduler_kwargs::num_cycles, 0, {cosine, cosine_with_restarts, cosine_with_min_lr}},
                                           {"lr_end", &lr_scheduler_kwargs::lr_end, 0, {polynomial}},
                                           {"power", &lr_scheduler_kwargs::power, 0, {polynomial}},
                                           {"timescale", &lr_scheduler_kwargs::timescale, 1, {inverse_sqrt}},
                                           {"min_lr", &lr_scheduler_kwargs::min_lr, 0, {cosine_with_min_lr}},
                                           {"min_lr_rate", &lr_scheduler_kwargs::min_lr_rate, 0, {cosine_with_min_lr}}}};

bool reads(kwarg const& one, lr_scheduler type) { return std::find(one.readers.begin(), one.readers.end(), type) != one.readers.end(); }

std::string names_read_by(lr_scheduler type) {
  std::string all;
  for (kwarg const& one : all_kwargs)
    if (reads(one, type)) all += (all.empty() ? "it reads " : ", ") + std::string(one.name);
  return all.empty() ? "it reads none" : all;
}

std::string known_kwargs() {
  std::string all;
  for (kwarg const& one : all_kwargs) all += (all.empty() ? "there are " : ", ") + std::string(one.name);
  return all;
}

// (1 + cos 2π cycles progress)/2
double wave(double cycles, double progress) { return 0.5 * (1 + std::cos(std::numbers::pi * cycles * 2 * progress)); }

double least_share(lr_schedule const& s) {
  if (s.kwargs.min_lr.has_value() == s.kwargs.min_lr_rate.has_value())
    throw error("--lr_scheduler_type cosine_with_min_lr needs one of min_lr and min_lr_rate: --lr_scheduler_kwargs '{\"min_lr_rate\": 0.1}'");
  return s.kwargs.min_lr ? *s.kwargs.min_lr / s.peak : *s.kwargs.min_lr_rate;
}

double polynomial_rate(lr_schedule const& s, double progress) {
  double const end = s.kwargs.lr_end.value_or(1e-7);
  if (!(s.peak > end))
    throw error("--lr_scheduler_type polynomial ends at lr_end = " + nlohmann::json(end).dump() + ", above --learning_rate " + nlohmann::json(s.peak).dump() +
                "; give a smaller one: --lr_scheduler_kwargs '{\"lr_end\": 0}'");
  return progress > 1 ? end : (s.peak - end) * std::pow(1 - progress, s.kwargs.power.value_or(1)) + end;
}

// The rate's share of the peak after the warm-up, for the types that end; progress: 0 … 1 from there to the last step.
double falling_rate(lr_schedule const& s, double progress) {
  switch (s.type) {
    case linear: return s.peak * std::max(0.0, 1 - progress);
    case cosine: return s.peak * std::max(0.0, wave(s.kwargs.num_cycles.value_or(0.5), progress));
    case cosine_with_restarts:
      return progress >= 1 ? 0 : s.peak * std::max(0.0, wave(0.5, std::fmod(s.kwargs.num_cycles.value_or(1) * progress, 1.0)));
    case cosine_with_min_lr: {
      double const least = least_share(s);
      return s.peak * std::max(0.0, wave(s.kwargs.num_cycles.value_or(0.5), progress) * (1 - least) + least);
    }
    case polynomial: return polynomial_rate(s, progress);
    default: return s.peak;
  }
}

}  // namespace

lr_scheduler_kwargs read_lr_scheduler_kwargs(std::string const& text) {
  auto const given = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::string const flag = "--lr_scheduler_kwargs " + text + ": ";
  if (!given.is_object()) throw error(flag + "not a JSON object; write '{\"num_cycles\": 3}'");
  lr_scheduler_kwargs kwargs;
  for (auto const& [name, value] : given.items()) {
    auto const known = std::find_if(all_kwargs.begin(), all_kwargs.end(), [key = std::string_view(name)](kwarg const& one) { return one.name == key; });
    if (known == all_kwargs.end()) throw error(flag + name + " is not known; " + known_kwargs());
    double const number = value.is_number() ? value.get<double>() : NAN;
    if (!std::isfinite(number) || number < known->least)
      throw error(flag + name + " must be a number of at least " + nlohmann::json(known->least).dump());
    kwargs.*known->member = number;
  }
  return kwargs;
}

void require_read(lr_scheduler_kwargs const& kwargs, lr_scheduler by) {
  for (kwarg const& one : all_kwargs)
    if (kwargs.*one.member && !reads(one, by))
      throw error("--lr_scheduler_kwargs: " + std::string(one.name) + " means nothing to " + std::string(name_of(by)) + "; " + names_read_by(by));
}

nlohmann::ordered_json as_json(lr_scheduler_kwargs const& kwargs) {
  auto object = nlohmann::ordered_json::object();
  for (kwarg const& one : all_kwargs)
    if (kwargs.*one.member) object[std::string(one.name)] = *(kwargs.*one.member);
  return object;
}

std::size_t lr_schedule::warmup() const {
  return static_cast<std::size_t>(warmup_steps >= 1 ? warmup_steps : std::ceil(warmup_steps * static_cast<double>(total_steps)));
}

double lr_schedule::at(std::size_t k) const {
  if (type == constant) return peak;
  auto const step = static_cast<double>(k), begin = static_cast<double>(warmup()), total = static_cast<double>(total_steps);
  if (step < begin) return peak * step / std::max(1.0, begin);
  if (type == inverse_sqrt) {
    double const timescale = kwargs.timescale.value_or(begin > 0 ? begin : 10'000);
    return peak / std::sqrt((step + timescale - begin) / timescale);
  }
  return falling_rate(*this, (step - begin) / std::max(1.0, total - begin));
}

}  // namespace kedge::llm
