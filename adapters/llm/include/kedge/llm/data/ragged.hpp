// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <kedge/llm/data/demonstrations.hpp>
#include <kedge/llm/data/preferences.hpp>

namespace kedge::llm {

/// Tokens of a batch that stand in a row.
struct token_range {
  std::int64_t begin = 0, size = 0;
};

/// One prompt and the completions that share it, in one run of tokens: prompt | completion 0 | completion 1 | …
/// Every completion attends to the prompt and to itself, never to another completion; its positions go on from the prompt's.
struct shared_prompt {
  std::int64_t begin = 0;                 ///< index of the prompt's first token in the batch
  std::int64_t prompt = 0;                ///< tokens
  std::vector<std::int64_t> completions;  ///< tokens of each
  token_range prefix = {};                ///< what the prompt begins with and an earlier one too: it stands there alone, and all tokens here see it
};

/// Queries of attention in a row: they see all of prefix and prompt, and of their own range what stands before them.
struct attention_run {
  token_range prefix, prompt, own;
};

/// f(attention_run) for each: the first completion runs on with its prompt, every further one stands alone.
template <class F>
void each_run(shared_prompt const& group, F&& f) {
  token_range const prompt{group.begin, group.prompt};
  std::int64_t begin = group.begin;
  for (std::size_t i = 0; i < group.completions.size(); ++i) {
    std::int64_t const size = group.completions[i] + (i == 0 ? prompt.size : 0);
    if (size > 0) f(attention_run{group.prefix, i == 0 ? token_range{begin, 0} : prompt, {begin, size}});
    begin += size;
  }
}

/// A batch without padding: one vector of tokens, and where things lie in it.
/// A sequence is one completion; sequences count through the batch in order. A pair is two: chosen 2i, rejected 2i + 1.
struct ragged_batch {
  std::vector<std::int64_t> tokens, positions;  ///< [T]
  std::vector<shared_prompt> prompts;           ///< [n]
  std::vector<std::int64_t> rows;               ///< [R] token whose hidden state predicts a completion token …
  std::vector<std::int64_t> targets;            ///< [R] … that token (of no meaning where ends are read) …
  std::vector<std::int64_t> sequence;           ///< [R] … and the sequence it belongs to
  std::vector<double> weights;                  ///< [R] how much a row counts in the log-probability of its sequence; empty: 1 each
  std::size_t sequences = 0;
  bool shares_prefixes = false;                 ///< prompts appended from now on refer to the first one for what they begin with as it does

  [[nodiscard]] std::size_t size() const { return tokens.size(); }
};

/// Where a sequence is read.
enum class read_at {
  every_token,  ///< before each completion token; the first one only if something stands before it
  end,          ///< at its last token: where a reward model looks
};

/// Appends a prompt and its completions. Where the batch shares prefixes, the system message of a template for example takes its
/// tokens once a batch: hidden states of a token depend on what stands before it alone, so nothing else changes.
void append(ragged_batch& batch, std::span<std::int32_t const> prompt,
            std::span<std::span<std::int32_t const> const> completions, read_at where = read_at::every_token);

/// The pairs `which` of `pairs`, in that order.
[[nodiscard]] ragged_batch pack_pairs(std::span<preference_pair const> pairs, std::span<std::size_t const> which,
                                      read_at where = read_at::every_token, bool share_prefixes = false);

/// Leaves of the rows from `first_row` on, which are those of the completion of `size` tokens that was appended last, the ones whose target
/// lies in one of the runs. `learned` counts the tokens of prompt and completion.
void learn_only(ragged_batch& batch, std::size_t first_row, std::size_t size, std::span<token_run const> learned);

/// Gives the rows of a batch of pairs LD-DPO's weights: 1 up to the length that chosen and rejected share, α after it.  Liu et al. 2024
/// throws  std::invalid_argument unless 0 ≤ α ≤ 1
void weigh_tails(ragged_batch& batch, double alpha);

/// Σ weight · value over the rows of each sequence.   [R] -> [sequences]
[[nodiscard]] std::vector<double> sums_by_sequence(std::span<double const> rows, ragged_batch const& batch);

/// Tokens that a pair takes in a batch at most: prompt once, chosen, rejected.
[[nodiscard]] std::size_t shared_tokens(preference_pair const& pair);

/// Cuts a run of examples, in order, into micro-batches of at most `max_tokens` tokens and at least one example.
/// `tokens_of(i)`: tokens that example i takes
template <class Tokens>
[[nodiscard]] std::vector<std::span<std::size_t const>> cut_by_tokens(std::span<std::size_t const> which, std::size_t max_tokens,
                                                                      Tokens&& tokens_of) {
  std::vector<std::span<std::size_t const>> cuts;
  std::size_t first = 0, tokens = 0;
  for (std::size_t i = 0; i < which.size(); ++i) {
    std::size_t const size = tokens_of(which[i]);
    if (i > first && tokens + size > max_tokens) {
      cuts.push_back(which.subspan(first, i - first));
      first = i;
      tokens = 0;
    }
    tokens += size;
  }
  if (first < which.size()) cuts.push_back(which.subspan(first));
  return cuts;
}

/// The part of a run of examples that process `rank` of `size` computes: every example has one owner, all have about as many tokens,
/// and the order stays. Long examples first, each to whoever has the fewest tokens so far.
/// `tokens_of(i)`: tokens that example i takes
template <class Tokens>
[[nodiscard]] std::vector<std::size_t> balanced_share(std::span<std::size_t const> which, int rank, int size, Tokens&& tokens_of) {
  if (size == 1) return {which.begin(), which.end()};
  std::vector<std::size_t> tokens, places(which.size()), load(static_cast<std::size_t>(size));
  for (std::size_t const i : which) tokens.push_back(tokens_of(i));
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) { return tokens[a] > tokens[b]; });
  std::vector<std::size_t> mine;
  for (std::size_t const place : places) {
    auto const least = std::min_element(load.begin(), load.end());
    *least += tokens[place];
    if (least - load.begin() == rank) mine.push_back(place);
  }
  std::sort(mine.begin(), mine.end());
  for (std::size_t& place : mine) place = which[place];
  return mine;
}

/// Micro-batches of pairs, by shared_tokens.
[[nodiscard]] std::vector<std::span<std::size_t const>> cut_micro_batches(std::span<preference_pair const> pairs,
                                                                          std::span<std::size_t const> which,
                                                                          std::size_t max_tokens);

}  // namespace kedge::llm
