// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <kedge/loop.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "epochs.hpp"
#include "moving_reference.hpp"
#include "pair_input.hpp"
#include "reference_schedule.hpp"
#include "router_loss.hpp"

namespace kedge::llm {

using training_state = kedge::state<pack, pair_log_probs, chosen_schedule>;

/// The pairs of a round, which whoever has them shares.
using round_pairs = std::shared_ptr<std::vector<preference_pair> const>;

class margin_probe;

/// What kedge::run asks of a language model: the round's pairs, their log-probabilities under a point, and the solver of a
/// round, AdamW epochs over the pairs. The rounds themselves are the core's.
class preference_problem {
 public:
  /// Gives a round's pairs, which may depend on where the round starts. Asked once a round, again after a resume inside one.
  using pair_source = std::function<round_pairs(training_state const&)>;

  /// `losses`: one a round, the last one goes on
  /// `data`: those of the group that have other pairs
  preference_problem(causal_lm const& model, training_settings const& settings, std::vector<loss_choice> losses, pair_source source,
                     process_group group, process_group data);
  preference_problem(causal_lm const& model, training_settings const& settings, std::vector<loss_choice> losses, pair_source source, process_group group = {})
      : preference_problem(model, settings, std::move(losses), std::move(source), group, group) {}

  [[nodiscard]] std::vector<preference_pair> const& source(training_state const& state);
  /// Scored in the micro-batches in which the first epoch will train, so that before the first step every margin is exactly 0.
  /// In the first round, the reference that the pairs bring (ref_chosen, ref_rejected), where they do, whatever theta is.
  [[nodiscard]] pair_log_probs score(pack const& theta, std::vector<preference_pair> const& pairs);
  kedge::status solve(pack& theta, std::vector<preference_pair> const& pairs, pair_log_probs const& reference, std::size_t round);

  epoch_solver solver;
  std::optional<moving_reference> moving;     ///< with --sync_ref_model
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
  [[nodiscard]] loss_and_cotangent compare_all(loss_input const& own, std::vector<preference_pair> const& pairs, std::span<std::size_t const> step,
                                               std::span<std::size_t const> mine) const;
  void report_on(std::vector<preference_pair> const& pairs, std::span<std::size_t const> micro, loss_input const& input, double share,
                 step_report& report) const;

  causal_lm const& model_;
  training_settings const& settings_;
  std::vector<loss_choice> losses_;
  pair_source ask_;
  process_group data_;
  router_loss router_;
  round_pairs pairs_;  // of round round_
  std::size_t round_ = static_cast<std::size_t>(-1);
  bool given_ = false;  // the pairs bring the round's reference
};

}  // namespace kedge::llm
