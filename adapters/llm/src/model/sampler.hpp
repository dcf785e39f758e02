// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <kedge/llm/model/sampling_settings.hpp>

namespace kedge::llm {

/// A uniform number in [0, 1) with 53 random bits, a function of its arguments alone: Philox4x32-10 with the seed as key
/// and (prompt, sample, token) as counter (Salmon et al., Parallel random numbers: as easy as 1, 2, 3; SC 2011).
[[nodiscard]] double uniform_draw(std::uint64_t seed, std::size_t prompt, std::size_t sample, std::size_t token);

/// A drawn token and its log-probability, untruncated and at temperature 1.
struct token_draw {
  std::int32_t token = 0;
  double logp = 0;
};

/// Draws from the logits of one row as the settings say, by inversion of u.
/// cost    one pass over the vocabulary, two with a temperature; truncations sort only what may be kept
[[nodiscard]] token_draw draw_token(std::span<float const> logits, sampling_settings const& settings, double u);
[[nodiscard]] token_draw draw_token(std::span<double const> logits, sampling_settings const& settings, double u);

/// The same after the settings' rules at a place. The log-probability is that of the logits as they were.
[[nodiscard]] token_draw draw_token(std::span<float const> logits, sampling_settings const& settings, decoding_place const& place, double u);
[[nodiscard]] token_draw draw_token(std::span<double const> logits, sampling_settings const& settings, decoding_place const& place, double u);

}  // namespace kedge::llm
