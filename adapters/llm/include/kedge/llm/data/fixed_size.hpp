// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>

#include <kedge/llm/data/ragged.hpp>

namespace kedge::llm {

/// What decides the shapes of all tensors of a pass over a batch.
struct packed_size {
  std::int64_t tokens = 0, rows = 0;  ///< of ragged_batch
  std::int64_t runs = 0, keys = 0;    ///< attention_runs, and the keys that all of them see together
  std::int64_t longest = 0;           ///< keys that a run sees, at most

  auto operator<=>(packed_size const&) const = default;
};

[[nodiscard]] packed_size size_of(ragged_batch const& batch);

/// The next of few sizes that a batch fits in with at least two tokens to spare: tokens and rows in eight steps from a power of two to the
/// next, at most an eighth more; keys in four; runs and the longest of them powers of two.
[[nodiscard]] packed_size size_class(ragged_batch const& batch);

/// The batch with as many tokens and rows as the size says. What is added is two sequences at the end, the first with all tokens but one, the
/// second, a run of its own, with the last token, which all added rows read. Nothing of the batch sees them: with cotangents of 0 they add 0 to
/// every gradient.
/// requires  size = size_class(batch)
[[nodiscard]] ragged_batch padded(ragged_batch batch, packed_size const& size);

}  // namespace kedge::llm
