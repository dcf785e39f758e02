// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "preference_problem.hpp"

namespace kedge::llm {

/// Everything that a bit-exact resume needs, apart from the settings and the data.
struct run_checkpoint {
  training_state& state;
  preference_problem& problem;
  pair_log_probs& evaluation_reference;   ///< of the held-out pairs under the start
  nlohmann::ordered_json log;             ///< training_log::save()
  nlohmann::ordered_json settings;        ///< what must be the same in the run that goes on
  nlohmann::ordered_json result;          ///< evaluations and times so far
};

/// checkpoints/step-N under the run's folder, written whole or not at all. Older ones stay.
std::filesystem::path save_checkpoint(std::filesystem::path const& output_dir, transformer_config const& config, run_checkpoint const& run);

/// Reads what save_checkpoint wrote.
/// throws  error if it is damaged, or its settings differ from run.settings: names the setting
void load_checkpoint(std::filesystem::path const& folder, transformer_config const& config, run_checkpoint& run);

/// A path as given, or for "latest" the checkpoint of output_dir with the most steps.
[[nodiscard]] std::filesystem::path find_checkpoint(std::filesystem::path const& output_dir, std::string const& which);

}  // namespace kedge::llm
