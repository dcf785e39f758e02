// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "../rollout.hpp"
#include "../run_checkpoint.hpp"

namespace kedge::llm {

/// Held-out prompts of a run, on which a policy is measured against its start. There are none where the settings name none.
class held_out_prompts {
 public:
  /// sampler: the model that completions are drawn from; policy: the one whose weights are measured; at_start: these at the start of the run, asked
  /// for only where there are prompts. All but `at_start` must outlive this.
  void open(session const& s, causal_lm const& sampler, causal_lm const& policy, on_policy_settings const& sampling, run_settings const& run, scorer& judge,
            process_group const& group, std::function<pack()> const& at_start);

  [[nodiscard]] bool there() const { return evaluator_.has_value(); }
  /// How many prompts there are.
  [[nodiscard]] std::size_t count() const { return evaluator_ ? evaluator_->prompts().prompts().ids.size() : 0; }
  /// Whether the start is still to be measured: a run may have been stopped before it was.
  [[nodiscard]] bool lack_start() const { return evaluator_ && evaluator_->start_scores.empty(); }
  void set_keep_going(std::function<bool()> const& ask);
  /// What a resumed run must share; null where there are none.
  [[nodiscard]] nlohmann::ordered_json content() const;

  /// The figures of a policy after `round` rounds, kept and told.
  nlohmann::ordered_json measure(pack const& weights, std::size_t round, std::filesystem::path const& output_dir, training_log& log);

  void save(checkpoint_writer& to) const;
  void restore(checkpoint_reader const& from);

  std::vector<policy_evaluation> evaluations;

 private:
  scorer own_judge_;  // where it isn't that of training
  std::optional<policy_evaluator> evaluator_;
};

}  // namespace kedge::llm
