// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <kedge/llm/data/preferences.hpp>
#include <kedge/llm/train/preference.hpp>

namespace kedge::llm {

/// throws  error in one line where settings contradict each other
void check_rounds(training_settings settings, round_settings rounds);

/// Extrapolation and mixtures are of what an adapter adds to the weights. DoRA's directions and lengths add nothing: m (W + s B A) / ‖W + s B A‖.
/// throws  error where the rounds ask for one of an adapter that has none
void check_extrapolated(lora_settings const& adapter, training_settings const& settings, round_settings const& rounds);

/// Where each round's anchor and start are.
/// products: pairs of factors that a point begins with where it is an adapter
[[nodiscard]] schedule_settings schedule_of(round_settings const& rounds, std::size_t products);

/// The loss of each round: the last one goes on.
[[nodiscard]] std::vector<loss_choice> losses_of(training_settings const& settings, round_settings const& rounds);

/// Of each round its beta, the effective beta of the rounds up to it, and its pairs where they are known.
/// pairs: of each round, or none at all where they are sampled
[[nodiscard]] nlohmann::ordered_json about_rounds(round_settings const& rounds, std::vector<loss_choice> const& losses,
                                                  std::span<std::shared_ptr<std::vector<preference_pair> const> const> pairs, std::size_t count);

/// Points that a run keeps while a round trains: the last iterate, where the next round looks back, what the reference keeps, the start, where
/// policies are measured against it, and a reference that moves.
[[nodiscard]] std::int64_t kept_points(training_settings const& settings, round_settings const& rounds);

}  // namespace kedge::llm
