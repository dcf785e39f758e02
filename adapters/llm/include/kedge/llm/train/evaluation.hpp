// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/settings_list.hpp>

namespace kedge::llm {

/// A number of steps, or a share of all the steps of a run: an integer, or a number below 1, as transformers has it.
struct step_count {
  double value = 0;

  constexpr step_count() = default;
  constexpr step_count(double steps_or_share) : value(steps_or_share) {}

  /// Of a run of so many steps; a share is rounded up.
  [[nodiscard]] std::size_t of(std::size_t all) const;
  [[nodiscard]] bool is_share() const { return value > 0 && value < 1; }
  friend bool operator==(step_count, step_count) = default;
};
template <>
struct setting_type<step_count> {
  [[nodiscard]] static std::optional<step_count> read(std::string_view text, number_range const& range);
  [[nodiscard]] static nlohmann::ordered_json write(step_count value);
  [[nodiscard]] static bool valid(step_count value, number_range const& range);
  [[nodiscard]] static std::string form(number_range const& range);
};

/// When something is done while training.
enum class interval { no, steps, epoch };
constexpr auto names(interval) { return std::array{named{interval::no, "no"}, named{interval::steps, "steps"}, named{interval::epoch, "epoch"}}; }

/// When a checkpoint is written.
enum class saving { no, steps, epoch, best };
constexpr auto names(saving) {
  return std::array{named{saving::no, "no"}, named{saving::steps, "steps"}, named{saving::epoch, "epoch"}, named{saving::best, "best", "at every evaluation that is the best so far"}};
}

/// Evaluations while training, and what hangs on them. Names and meanings are those of transformers 5.23. Whatever stands here, held-out data
/// are measured before the first step and after the last, and between rounds.
struct evaluation_settings {
  interval eval_strategy = interval::no;
  step_count eval_steps;                     ///< 0: as many as --logging_steps
  double eval_delay = 0;                     ///< steps, or epochs, before the first evaluation
  saving save_strategy = saving::steps;
  bool load_best_model_at_end = false;
  std::string metric_for_best_model;         ///< with or without eval_; empty: loss
  std::optional<bool> greater_is_better;     ///< unset: unless the metric's name ends with loss
  std::size_t early_stopping_patience = 0;   ///< evaluations in a row that are no better; 0: no early stopping
  double early_stopping_threshold = 0;       ///< by more than this an evaluation is better

  /// With its eval_ in front; empty where nothing asks for the best model.
  [[nodiscard]] std::string metric() const;
  [[nodiscard]] bool greater() const;
};

}  // namespace kedge::llm
