// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rollout.hpp"

namespace kedge::llm {

/// samples/round-N.jsonl under a run's folder: {"prompt", "completion", "score", "tokens", "finished"} a line.
void write_samples(std::filesystem::path const& output_dir, std::size_t round, rollout_source const& prompts, std::vector<rollout> const& rollouts);

/// An evaluation as a sentence.
[[nodiscard]] std::string sentence(policy_evaluation const& e);

}  // namespace kedge::llm
