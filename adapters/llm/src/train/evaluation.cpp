// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include <kedge/llm/train/evaluation.hpp>

namespace kedge::llm {

std::size_t step_count::of(std::size_t all) const {
  return static_cast<std::size_t>(is_share() ? std::ceil(static_cast<double>(all) * value) : value);
}

std::optional<step_count> setting_type<step_count>::read(std::string_view text, number_range const& range) {
  std::optional<double> const value = setting_type<double>::read(text, range);
  if (!value) return {};
  return step_count(*value);
}

nlohmann::ordered_json setting_type<step_count>::write(step_count value) {
  if (value.is_share()) return value.value;
  return static_cast<std::int64_t>(value.value);
}

bool setting_type<step_count>::valid(step_count value, number_range const& range) {
  return range.contains(value.value) && (value.value < 1 || value.value == std::floor(value.value));
}

std::string setting_type<step_count>::form(number_range const& range) {
  return std::string("an integer of at least ") + (range.above_least ? "1" : "0") + ", or a share below 1";
}

std::string evaluation_settings::metric() const {
  bool const asked = load_best_model_at_end || early_stopping_patience > 0 || save_strategy == saving::best;
  if (metric_for_best_model.empty()) return asked ? "eval_loss" : "";
  return metric_for_best_model.starts_with("eval_") ? metric_for_best_model : "eval_" + metric_for_best_model;
}

bool evaluation_settings::greater() const { return greater_is_better.value_or(!metric().ends_with("loss")); }

}  // namespace kedge::llm
