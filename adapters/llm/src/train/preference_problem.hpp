// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <kedge/loop.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/settings.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "epochs.hpp"
#include "reference_schedule.hpp"

namespace kedge::llm {

struct loss_input;

using training_state = kedge::state<pack, pair_log_probs, chosen_schedule>;

class margin_probe;

/// What kedge::run asks of a language model: the round's pairs, their log-probabilities under a point, and the solver of a
/// round, AdamW epochs over the pairs. The rounds themselves are the core's.
class preference_problem {
 public:
  /// Gives a round's pairs, which may depend on where the round starts. Asked once a round, again after a resume inside one.
  using pair_source = std::function<std::vector<preference_pair>(training_state const&)>;

  /// `losses`: one a round, the last one goes on
  preference_problem(causal_lm const& model, training_settings const& settings, std::vector<loss_choice> losses, pair_source source,
                     process_group group = {});

  [[nodiscard]] std::vector<preference_pair> const& source(training_state const& state);
  /// Scored in the micro-batches in which the first epoch will train, so that before the first step every margin is exactly 0.
  [[nodiscard]] pair_log_probs score(pack const& theta, std::vector<preference_pair> const& pairs);
  kedge::status solve(pack& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference, std::size_t round);

  epoch_solver solver;
  double score_seconds = 0;
  margin_probe* probe = nullptr;              ///< looks on, where there is one
  std::optional<margin_noise> noise;          ///< of the last round that ended

 private:
  [[nodiscard]] std::vector<std::span<std::size_t const>> micro_batches(std::vector<preference_pair> const& pairs,
                                                                       std::span<std::size_t const> step) const;
  [[nodiscard]] loss_choice const& loss() const { return losses_[std::min(round_, losses_.size() - 1)]; }
  step_report train_step(pack const& weights, std::vector<preference_pair> const& pairs, std::span<std::size_t const> which,
                         pair_log_probs const& reference, step_gradient& gradient) const;
  // A loss that compares pairs, of a step whose log-probabilities several processes have: value once, cotangents of the own pairs.
  [[nodiscard]] loss_and_cotangent compare_all(loss_input const& own, pair_log_probs const& reference, std::vector<preference_pair> const& pairs,
                                               std::span<std::size_t const> step, std::span<std::size_t const> mine) const;

  causal_lm const& model_;
  training_settings const& settings_;
  std::vector<loss_choice> losses_;
  pair_source ask_;
  process_group group_;
  std::vector<preference_pair> pairs_;  // of round round_
  std::size_t round_ = static_cast<std::size_t>(-1);
};

/// The pairs `which` for a model, timed as a step's data.
[[nodiscard]] ragged_batch packed_pairs(causal_lm const& model, std::span<preference_pair const> pairs, std::span<std::size_t const> which,
                                        read_at where = read_at::every_token);

/// Puts the log-probabilities of the pairs `which` at their places among those of all.
void put(pair_log_probs const& part, std::span<std::size_t const> which, pair_log_probs& all);

/// Puts the log-probabilities of chosen and rejected of the pairs in these micro-batches at their places among those of all: a forward
/// pass each, nothing kept. Empty ones are passed over.
void score_each(causal_lm const& model, pack const& weights, std::span<preference_pair const> pairs,
                std::span<std::span<std::size_t const> const> micro_batches, pair_log_probs& all);

/// The pairs of a step that this process computes.
[[nodiscard]] std::vector<std::size_t> own_share(process_group const& group, std::span<preference_pair const> pairs, std::span<std::size_t const> step);

/// Chosen and rejected from log-probabilities in a batch's order.
[[nodiscard]] pair_log_probs split_pairs(std::vector<double> const& logp);

/// A batch's pairs with their reference and token counts, held together for a loss.
struct loss_input {
  loss_input(pair_log_probs values, pair_log_probs const& reference, std::span<preference_pair const> pairs,
             std::span<std::size_t const> which);
  [[nodiscard]] pair_batch view() const { return {.logp = logp, .reference = ref, .tokens_chosen = tokens_chosen, .tokens_rejected = tokens_rejected,
                                                  .score_chosen = score_chosen, .score_rejected = score_rejected}; }
  pair_log_probs logp, ref;
  std::vector<double> tokens_chosen, tokens_rejected, score_chosen, score_rejected;
};

}  // namespace kedge::llm
