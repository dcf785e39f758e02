// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include <kedge/llm/train/training_log.hpp>

#include "rollout.hpp"

namespace kedge::llm {

/// Measures a policy on held-out prompts and tells of it: a line of metrics.jsonl, a sentence on stderr, and under the run's folder
/// samples/round-N.jsonl, {"prompt", "completion", "score", "tokens", "finished"} a line.
[[nodiscard]] policy_evaluation evaluate_policy(policy_evaluator& evaluator, pack const& weights, std::size_t round,
                                                std::filesystem::path const& output_dir, training_log& log);

}  // namespace kedge::llm
