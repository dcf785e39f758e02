// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/run_settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../epochs.hpp"
#include "../run_checkpoint.hpp"
#include "../run_identity.hpp"

namespace kedge::llm {

/// What a run without rounds trains on, and by what.
struct one_round_task {
  std::size_t examples = 0;
  epoch_solver::step_function step;
  /// Figures of the held-out examples; empty where there are none.
  std::function<nlohmann::ordered_json(pack const& weights)> evaluate;
  std::function<void(pack const& theta)> write;
  /// What has to know where the model stands: told before every step and evaluation, after so many steps; and what a checkpoint keeps of it. May be empty.
  std::function<void(std::function<pack const&()> const& theta, std::size_t steps)> follow;
  std::function<void(checkpoint_writer& to)> save;
  std::function<void(checkpoint_reader const& from)> restore;
  std::vector<shown_metric> shown;
  run_identity identity;
  std::string name;                 ///< of the model, for people
};

/// Trains theta in place: epochs of AdamW steps between two evaluations, in a run's folder, resumable.
/// returns  the evaluations too, as they stand in metrics.jsonl
one_round_result run_one_round(run_settings const& settings, process_group const& group, causal_lm const& model, pack theta,
                              one_round_task const& task);

}  // namespace kedge::llm
