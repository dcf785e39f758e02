// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/losses/unpaired.hpp>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/kto.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../scale/process_group.hpp"
#include "labelled_data.hpp"
#include "moving_reference.hpp"
#include "step_gradient.hpp"

namespace kedge::llm {

/// Single completions with the log-probabilities of each prompt's own and other completion under the reference, as the run found it.
struct scored_completions {
  labelled_data data;
  std::vector<double> own{}, other{};  ///< [data.size()]; of the others none where no divergence is estimated
};

/// Steps and evaluations on single completions. Several processes divide the examples; all get the same figures.
class labelled_problem {
 public:
  /// settings and model: must outlive this
  labelled_problem(kto_settings const& settings, causal_lm const& model, process_group group)
      : settings_(settings), model_(model), group_(std::move(group)) {}

  /// Fills in what the reference says, in the micro-batches of steps over so many examples, `order` by `order`.
  void score(causal_lm const& reference, pack const& weights, std::span<std::size_t const> order, std::size_t step, scored_completions& to) const;

  [[nodiscard]] step_report train_step(pack const& weights, scored_completions const& from, std::span<std::size_t const> which, step_gradient& gradient) const;

  /// eval_loss and the metrics, under their names in metrics.jsonl.
  [[nodiscard]] nlohmann::ordered_json evaluate(pack const& weights, scored_completions const& from) const;

  std::optional<moving_reference> moving;  ///< with --sync_ref_model

 private:
  [[nodiscard]] bool estimates() const { return settings_.loss_type == unpaired_loss::kto; }
  // f(micro, its batch) for this process's part of a step.
  template <class F>
  void each_batch(causal_lm const& model, labelled_data const& data, std::span<std::size_t const> step, follows what, F&& f) const;
  // The reference's log-probabilities of a micro-batch.
  [[nodiscard]] std::vector<double> reference_of(scored_completions const& from, std::span<std::size_t const> micro, ragged_batch const& batch, follows what) const;
  // The loss of each batch of a step: its k is estimated under these weights.
  [[nodiscard]] std::vector<unpaired_kto> losses(pack const& weights, scored_completions const& from, std::span<std::size_t const> which, step_batches const& batches) const;

  kto_settings const& settings_;
  causal_lm const& model_;
  process_group group_;
};

}  // namespace kedge::llm
