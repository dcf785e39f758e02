// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/train/training_log.hpp>

namespace kedge::llm {

/// Margins that rise while the chosen completions become less likely: a loss of differences allows it, and few want it. Means are over the
/// last quarter of a round. Told once.
class falling_chosen {
 public:
  void add(step_report const& report) {
    if (report.step == 1) reward_ = margin_ = steps_ = 0;
    if (report.step * 4 <= report.steps * 3) return;
    reward_ += report.metric_or_nan("rewards/chosen");
    margin_ += report.metric_or_nan("rewards/margins");
    steps_ += 1;
  }

  void tell(double beta, training_log& log) {
    double const nats = reward_ / steps_ / beta;
    if (told_ || !(nats < -1 && margin_ > 0)) return;
    told_ = true;
    log.say("chosen completions have become less likely than under the reference, by " + short_number(-nats) +
            " nats each, while margins rise; to hold them up, add their likelihood, --loss_type sigmoid sft --loss_weights 1 0.1, or lower --learning_rate");
  }

 private:
  double reward_ = 0, margin_ = 0, steps_ = 0;
  bool told_ = false;
};

}  // namespace kedge::llm
