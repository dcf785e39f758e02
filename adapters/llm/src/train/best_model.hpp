// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <tuple>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/evaluation.hpp>
#include <kedge/parts.hpp>

namespace kedge::llm {

/// Which of a run's evaluations was best so far, and since when none was better. Steps are those of the whole run.
struct best_model {
  std::optional<double> metric;              ///< the best; none before the first evaluation
  std::optional<std::size_t> step;           ///< after which it was reached
  std::optional<std::size_t> checkpoint;     ///< the newest of those steps after which a checkpoint was written
  std::size_t no_better = 0;                 ///< evaluations in a row that were not better by more than the threshold
  std::optional<std::size_t> measured;       ///< step of the last evaluation

  static constexpr auto parts = std::tuple{part{"metric", &best_model::metric}, part{"step", &best_model::step}, part{"checkpoint", &best_model::checkpoint},
                                           part{"no_better", &best_model::no_better}, part{"measured", &best_model::measured}};

  /// Takes in the figures of an evaluation after `step` steps, as transformers' 5.23 does: patience is counted against the best before it.
  /// returns  it is the best so far
  /// throws  usage_error: the figures don't have the metric
  bool take(evaluation_settings const& settings, nlohmann::ordered_json const& figures, std::size_t at_step);
};

/// throws  usage_error: the settings of evaluations contradict each other, or ask for held-out data that aren't there. `measures`: they are;
///         `steps`: of the whole run
void check_evaluations(evaluation_settings const& settings, step_count eval_steps, step_count save_steps, bool measures, std::size_t steps);

}  // namespace kedge::llm
