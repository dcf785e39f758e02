// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

/// Where each round's anchor and start are.
/// adapter: points are the factors of an adapter
[[nodiscard]] schedule_settings schedule_of(round_settings const& rounds, bool adapter);

/// The loss of each round: the last one goes on.
[[nodiscard]] std::vector<loss_choice> losses_of(training_settings const& settings, round_settings const& rounds);

/// Points that a run keeps while a round trains: the last iterate, where the next round looks back, what the reference keeps, the start, where
/// policies are measured against it, and a reference that moves.
[[nodiscard]] std::int64_t kept_points(training_settings const& settings, round_settings const& rounds);

}  // namespace kedge::llm
