// SPDX-License-Identifier: Apache-2.0
#include "best_model.hpp"

#include <cmath>
#include <string>

#include <kedge/llm/base/setting.hpp>

namespace kedge::llm {
namespace {

std::string known_figures(nlohmann::ordered_json const& figures) {
  std::string names;
  for (auto const& [name, value] : figures.items())
    if (value.is_number() && name.starts_with("eval_")) names += (names.empty() ? "" : ", ") + name;
  return names;
}

// Is every save at an evaluation?
bool is_multiple(step_count save, step_count eval, std::size_t steps) {
  if (save.is_share() != eval.is_share()) return false;
  if (save.is_share())
    return std::abs(std::remainder(save.value / eval.value, 1)) < 1e-6 && save.of(steps) % eval.of(steps) == 0;
  return static_cast<std::size_t>(save.value) % static_cast<std::size_t>(eval.value) == 0;
}

std::string text_of(step_count count) { return setting_type<step_count>::write(count).dump(); }

}  // namespace

bool best_model::take(evaluation_settings const& settings, nlohmann::ordered_json const& figures, std::size_t at_step) {
  std::string const name = settings.metric();
  if (name.empty()) return false;
  if (!figures.contains(name))
    throw usage_error("--metric_for_best_model " + name + ": evaluations have " + known_figures(figures));
  auto const value = figures.at(name).get<double>();
  auto const better = [&](double than) { return settings.greater() ? value > than : value < than; };
  bool const enough = !metric || (better(*metric) && std::abs(value - *metric) > settings.early_stopping_threshold);
  no_better = enough ? 0 : no_better + 1;
  if (metric ? !better(*metric) : std::isnan(value)) return false;
  metric = value;
  step = at_step;
  return true;
}

void check_evaluations(evaluation_settings const& s, step_count eval_steps, step_count save_steps, bool measures,
                       std::size_t steps) {
  auto const refuse = [](std::string const& text) { throw usage_error(text); };
  bool const evaluates = s.eval_strategy != interval::no;
  if (evaluates && !measures)
    refuse("--eval_strategy " + std::string(name_of(s.eval_strategy)) +
           " needs held-out data; give them, --eval_dataset FILE, or --eval_prompts FILE where completions are sampled");
  if (evaluates) {
    if (s.eval_delay > 0 && s.eval_strategy == interval::steps && s.eval_delay > static_cast<double>(steps))
      refuse("--eval_delay " + std::to_string(static_cast<std::size_t>(s.eval_delay)) + ": the run has " +
             std::to_string(steps) + " steps, so that nothing would be measured");
  } else if (!s.metric().empty()) {
    std::string const who = s.load_best_model_at_end          ? "--load_best_model_at_end"
                            : s.early_stopping_patience > 0   ? "--early_stopping_patience"
                            : s.save_strategy == saving::best ? "--save_strategy best"
                                                              : "--metric_for_best_model";
    if (who != "--metric_for_best_model")
      refuse(who + " goes by evaluations while training; give --eval_strategy steps or epoch");
  }
  if (!s.load_best_model_at_end || s.save_strategy == saving::best) return;
  if (name_of(s.save_strategy) != name_of(s.eval_strategy))
    refuse("--load_best_model_at_end takes its model from a checkpoint: --save_strategy " +
           std::string(name_of(s.save_strategy)) + " must be that of evaluations, --eval_strategy " +
           std::string(name_of(s.eval_strategy)) + ", or best");
  if (s.eval_strategy == interval::steps && !is_multiple(save_steps, eval_steps, steps))
    refuse("--load_best_model_at_end: --save_steps " + text_of(save_steps) + " must be a multiple of --eval_steps " +
           text_of(eval_steps) + ", so that what is saved has been measured; or give --save_strategy best");
}

}  // namespace kedge::llm
