// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/base/settings_list.hpp>
#include <kedge/llm/train/on_policy.hpp>

namespace kedge::llm {

/// --judge, --judge_timeout and --reward_model: who rewards completions.
void declare_judge(settings_list& list, on_policy_settings& settings);

}  // namespace kedge::llm
