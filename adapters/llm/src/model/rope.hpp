// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/config.hpp>

#include "ops.hpp"

namespace kedge::llm::ops {

/// 1/θ^(2i/d), scaled as the settings say, for a sequence of so many tokens (of which only dynamic and longrope take note).
/// returns [share · head_dim / 2], fp32
at::Tensor inverse_frequencies(rope_settings const& rope, std::int64_t head_dim, std::int64_t length = 0);

/// Whether a token's rotation depends on how long its sequence is.
[[nodiscard]] bool rotates_by_length(rope_settings const& rope);

/// The frequencies of every token of a batch, [d/2] where all have the same, else [T, d/2]. What depends on a sequence's length
/// goes by the longest that shares the prompt, so that neither packing nor order changes a number.
at::Tensor frequencies_of(rope_settings const& rope, std::int64_t head_dim, std::vector<shared_prompt> const& prompts);

/// The rotations of a model's layers: one, or one for layers with a window and one for the others.
class rotations {
 public:
  rotations() = default;
  /// global, local: frequencies as for rotation; local undefined where no layer has its own
  rotations(transformer_config const& config, at::Tensor const& positions, at::Tensor const& global, at::Tensor const& local, at::ScalarType type);
  /// Null where the layer does not turn.
  [[nodiscard]] rotation const* of(layer_settings const& layer) const;

 private:
  rotation global_, local_;
};

}  // namespace kedge::llm::ops
