// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// How the learning rate goes on after the warm-up, by transformers' names.
enum class lr_scheduler { linear, cosine, cosine_with_restarts, cosine_with_min_lr, polynomial, inverse_sqrt, constant, constant_with_warmup };

constexpr auto names(lr_scheduler) {
  using enum lr_scheduler;
  return std::array<named<lr_scheduler>, 8>{{{linear, "linear", "to 0"},
                                             {cosine, "cosine", "half a wave to 0"},
                                             {cosine_with_restarts, "cosine_with_restarts", "half waves to 0, each from the peak"},
                                             {cosine_with_min_lr, "cosine_with_min_lr", "half a wave to min_lr"},
                                             {polynomial, "polynomial", "to lr_end, the remaining share to a power"},
                                             {inverse_sqrt, "inverse_sqrt", "1/sqrt of the step"},
                                             {constant, "constant", "the peak, without a warm-up"},
                                             {constant_with_warmup, "constant_with_warmup", "the peak"}}};
}

/// What some schedules are told besides, as transformers' `lr_scheduler_kwargs`. None: transformers' own default.
struct lr_scheduler_kwargs {
  std::optional<double> num_cycles{};   ///< cosine, cosine_with_min_lr: waves, 0.5; cosine_with_restarts: half waves, 1
  std::optional<double> lr_end{};       ///< polynomial: 1e-7
  std::optional<double> power{};        ///< polynomial: 1
  std::optional<double> timescale{};    ///< inverse_sqrt: steps; the warm-up's, or 10000 without one
  std::optional<double> min_lr{};       ///< cosine_with_min_lr: the last rate,
  std::optional<double> min_lr_rate{};  ///< or its share of the peak
  friend bool operator==(lr_scheduler_kwargs const&, lr_scheduler_kwargs const&) = default;
};

/// From a JSON object, as the flag has it: {"num_cycles": 3}.
/// throws  error for an unknown name, and for a number out of range
[[nodiscard]] lr_scheduler_kwargs read_lr_scheduler_kwargs(std::string const& text);
/// throws  error for one that this schedule doesn't read
void require_read(lr_scheduler_kwargs const& kwargs, lr_scheduler by);
/// What is given, as a JSON object.
[[nodiscard]] nlohmann::ordered_json as_json(lr_scheduler_kwargs const& kwargs);

/// Learning rate over the steps of one round, as transformers computes it: warm-up from 0, then as the type says.
struct lr_schedule {
  lr_scheduler type = lr_scheduler::linear;
  double peak = 1e-6;
  double warmup_steps = 0;  ///< below 1: a share of all steps, rounded up
  std::size_t total_steps = 1;
  lr_scheduler_kwargs kwargs{};

  [[nodiscard]] std::size_t warmup() const;
  /// Rate of step k = 0, 1, …
  /// throws  error where the type needs what kwargs don't say
  [[nodiscard]] double at(std::size_t k) const;
};

}  // namespace kedge::llm
