// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

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

/// The size that a batch is padded to: one of few, the classes. What a class is follows from tokens t and rows r alone: t, the next multiple of
/// 128 and of an eighth of the power of two below it that leaves nine tokens to spare; r, the next eighth of t. Its other numbers bound what batches of
/// sequences have that t and r: t/128 + 32 runs, min(2t, 9t/4 − r) + 512 keys, as pairs need that share their prompts and a short system message, and
/// min(t, 2048) keys of a run.
/// returns  nothing for a batch beyond these bounds, or of more than 16384 tokens, which keep a GPU busy without a recording
[[nodiscard]] std::optional<packed_size> size_class(ragged_batch const& batch);

/// The last runs of a padded batch, of one token each: they see as many keys as are left.
inline constexpr std::int64_t spare_runs = 8;

/// The batch with as many tokens and rows as the size says. What is added stands at the end: a sequence, and `spare_runs` ones of a token each,
/// the last of which all added rows read. Nothing of the batch sees them: with cotangents of 0 they add 0 to every gradient.
/// requires  size = size_class(batch)
[[nodiscard]] ragged_batch padded(ragged_batch batch, packed_size const& size);

}  // namespace kedge::llm
