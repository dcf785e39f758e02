// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/losses.hpp>

#include "../scale/process_group.hpp"
#include "step_batches.hpp"

namespace kedge::llm {

// Log-probabilities of pairs have one layout in training, pair_log_probs. A model speaks of sequences, chosen and rejected in turn: what
// leaves it is split, and what goes back to it is joined, here.

/// The pairs `which` for a model, timed as a step's data. `ld_alpha`: LD-DPO's weight of tails, where there is one.
[[nodiscard]] ragged_batch packed_pairs(causal_lm const& model, std::span<preference_pair const> pairs,
                                        std::span<std::size_t const> which, read_at where = read_at::every_token,
                                        std::optional<double> ld_alpha = {});

/// Chosen and rejected from numbers in a batch's order.
[[nodiscard]] pair_log_probs split_pairs(std::span<double const> sequences);
/// The inverse.
[[nodiscard]] std::vector<double> joined_pairs(pair_log_probs const& pairs);

/// Those of the pairs `which` among those of all.
[[nodiscard]] pair_log_probs at_places(pair_log_probs const& all, std::span<std::size_t const> which);
/// Puts those of the pairs `which` at their places among those of all.
void put(pair_log_probs const& part, std::span<std::size_t const> which, pair_log_probs& all);

/// The reference that the pairs bring.   requires have_reference(pairs)
[[nodiscard]] pair_log_probs given_reference(std::span<preference_pair const> pairs);

/// What TRL tells of the tokens of pairs: means over the tokens of a batch, and over the batches of a step.
struct token_figures {
  double entropy = 0;                            ///< of all completion tokens, nats
  double logits_chosen = 0, logits_rejected = 0; ///< of each token's logits the mean
  double accuracy = 0;                           ///< share of the chosen completions' tokens that are the likeliest ones

  /// What the forward pass of a batch of pairs has to give for them.
  static constexpr row_figures wanted{.entropy = true, .logits = true};
  void sum_over(process_group const& group);
};

/// Adds up the figures of a step, or of all held-out pairs, which may be computed in parts.
class token_counter {
 public:
  /// batch: pairs of one of TRL's batches, over all processes
  token_counter(std::span<preference_pair const> pairs, std::span<std::size_t const> which, std::size_t batch);

  /// rows: of a forward pass over the pairs `micro`, with what is wanted
  void add(row_outputs const& rows, ragged_batch const& batch, std::span<std::size_t const> micro);
  [[nodiscard]] token_figures const& figures() const { return figures_; }

 private:
  step_batches batches_;
  batch_shares chosen_, rejected_, all_;
  token_figures figures_;
};

/// Puts the log-probabilities of chosen and rejected of the pairs in these micro-batches at their places among those of all: a forward
/// pass each, nothing kept. Empty ones are passed over. `tokens`: where their figures go.
void score_each(causal_lm const& model, pack const& weights, std::span<preference_pair const> pairs,
                std::span<std::span<std::size_t const> const> micro_batches, pair_log_probs& all,
                std::optional<double> ld_alpha = {}, token_counter* tokens = nullptr);

/// The pairs of a step that this process computes.
[[nodiscard]] std::vector<std::size_t> own_share(process_group const& group, std::span<preference_pair const> pairs,
                                                 std::span<std::size_t const> step);

/// WPO's weight of each pair of a batch, the product of its completions'.                                    Zhou et al. 2024
/// rows: with log_squares
[[nodiscard]] std::vector<double> weights_by_policy(row_outputs const& rows, ragged_batch const& batch);

/// What a loss reads of the pairs `which`: a column a figure, in the order of `which`. What is not filled in is 0 (weights: none).
struct loss_input {
  loss_input(std::span<preference_pair const> pairs, std::span<std::size_t const> which);

  [[nodiscard]] pair_batch view() const {
    return {.logp = logp,
            .reference = ref,
            .tokens_chosen = tokens_chosen,
            .tokens_rejected = tokens_rejected,
            .score_chosen = score_chosen,
            .score_rejected = score_rejected,
            .weights = weights};
  }

  pair_log_probs logp, ref;
  std::vector<double> weights;
  std::vector<double> tokens_chosen, tokens_rejected, score_chosen, score_rejected;
};

}  // namespace kedge::llm
