// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <kedge/llm/data/preferences.hpp>

namespace kedge::llm {

/// One prompt and the completions that share it, in one run of tokens: prompt | completion 0 | completion 1 | …
/// Every completion attends to the prompt and to itself, never to another completion; its positions go on from the prompt's.
struct shared_prompt {
  std::int64_t begin = 0;                 ///< index of the prompt's first token in the batch
  std::int64_t prompt = 0;                ///< tokens
  std::vector<std::int64_t> completions;  ///< tokens of each
};

/// A batch without padding: one vector of tokens, and where things lie in it.
/// A sequence is one completion; sequences count through the batch in order. A pair is two: chosen 2i, rejected 2i + 1.
struct ragged_batch {
  std::vector<std::int64_t> tokens, positions;  ///< [T]
  std::vector<shared_prompt> prompts;           ///< [n]
  std::vector<std::int64_t> rows;               ///< [R] token whose hidden state predicts a completion token …
  std::vector<std::int64_t> targets;            ///< [R] … that token …
  std::vector<std::int64_t> sequence;           ///< [R] … and the sequence it belongs to
  std::size_t sequences = 0;

  [[nodiscard]] std::size_t size() const { return tokens.size(); }
};

/// Appends a prompt and its completions. A completion's first token is scored only if something stands before it.
void append(ragged_batch& batch, std::span<std::int32_t const> prompt,
            std::span<std::span<std::int32_t const> const> completions);

/// The pairs `which` of `pairs`, in that order.
[[nodiscard]] ragged_batch pack_pairs(std::span<preference_pair const> pairs, std::span<std::size_t const> which);

/// Tokens that a pair takes in a batch: prompt once, chosen, rejected.
[[nodiscard]] std::size_t shared_tokens(preference_pair const& pair);

/// Cuts a run of pairs, in order, into micro-batches of at most `max_tokens` shared tokens and at least one pair.
[[nodiscard]] std::vector<std::span<std::size_t const>> cut_micro_batches(std::span<preference_pair const> pairs,
                                                                          std::span<std::size_t const> which,
                                                                          std::size_t max_tokens);

}  // namespace kedge::llm
