// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/run_settings.hpp>

namespace kedge::llm {

/// What a process of a training run takes of a host's memory, in bytes.
struct host_need {
  std::int64_t states = 0;   ///< memory_plan::states
  std::int64_t kept = 0;     ///< by the layers until the backward pass, for the tokens computed at once
  std::int64_t working = 0;  ///< while a layer or the head is computed
  bool layers_again = false;

  [[nodiscard]] std::int64_t bytes() const { return states + kept + working; }
};

/// The need of a run that computes so many tokens at once.
/// budget: bytes that layers may keep; where they'd need more they are computed again
[[nodiscard]] host_need host_need_of(transformer_config const& config, plan_settings const& plan, std::int64_t tokens,
                                     std::int64_t budget);

/// Before anything is loaded: says in a line what a run will take, where that is a gigabyte or more.
/// compute: with activation_bytes as they are settled; longest: tokens of the longest example, 0: not known; free: bytes for this process
/// throws  error if it doesn't fit, which names settings that would, each with what it takes
[[nodiscard]] std::string plan_on_host(compute_settings const& compute, transformer_config const& config,
                                       plan_settings const& plan, run_settings const& run, std::int64_t longest,
                                       std::int64_t free);

}  // namespace kedge::llm
