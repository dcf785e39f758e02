// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "rollout.hpp"

namespace kedge::llm {

/// samples/round-N.jsonl under a run's folder: {"prompt", "completion", "score", "tokens", "finished"} a line.
void write_samples(std::filesystem::path const& output_dir, std::size_t round, rollout_source const& prompts, std::vector<rollout> const& rollouts);

// An evaluation as a line of metrics.jsonl, as a sentence, and as a part of a checkpoint.
[[nodiscard]] nlohmann::ordered_json log_line(policy_evaluation const& e, std::size_t step);
[[nodiscard]] std::string sentence(policy_evaluation const& e);
[[nodiscard]] nlohmann::ordered_json as_json(std::vector<policy_evaluation> const& evaluations);
[[nodiscard]] std::vector<policy_evaluation> evaluations_from(nlohmann::ordered_json const& saved);

}  // namespace kedge::llm
