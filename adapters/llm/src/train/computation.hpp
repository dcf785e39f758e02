// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/device_plan.hpp>
#include <kedge/llm/train/run_settings.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// How a model computes where settings and device alone decide: type, recorded passes, products in 8 bits. The device isn't asked for anything.
/// throws  error where a device can't do what was asked
[[nodiscard]] compute_settings computation_on(at::Device device, device_settings const& settings,
                                              transformer_config const& config);

/// Whether products of float32 have 10 bits of mantissa: on a GPU, where it was asked for, or in a run in float32 that leaves it open.
[[nodiscard]] bool uses_tf32(device_settings const& settings, compute_settings const& compute);

/// How many tokens a computation takes at once, and where memory won't do, a line that says so.
struct fitted_tokens {
  std::size_t at_once = tokens_at_once::least;
  std::string note{};
  std::string plan{};  ///< what the run will take, where it's worth a line
};

/// Fits a computation that trains nothing into the memory that is free: rows of the head, and on a GPU logits that are kept.
/// returns  tokens that it computes at once
[[nodiscard]] std::size_t fit_scoring(compute_settings& compute, transformer_config const& config, std::int64_t free);

/// The same for one that trains, before it loads anything: what layers may keep as well.
/// free: bytes, of a processor all that the machine has left; longest: tokens of the longest example, 0: not known
/// throws  error where a host has not so much, with settings that would fit
[[nodiscard]] fitted_tokens fit_training(compute_settings& compute, transformer_config const& config, plan_settings const& plan,
                                         run_settings const& run, std::int64_t free, std::int64_t longest = 0);

/// Settles tokens at once, where the settings leave them open: what the checkpoint has from which the run goes on, else the least of what
/// the processes have room for.
void settle(run_settings& run, std::size_t room, process_group const& group);

/// What settings that may be left open have become, by their names: what changes results, if only by rounding.
[[nodiscard]] nlohmann::ordered_json settled(device_settings const& settings, compute_settings const& compute);

}  // namespace kedge::llm
