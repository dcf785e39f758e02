// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/training_log.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// The auxiliary loss of a mixture of experts, which evens out how often they are chosen: E Σ_e f_e p_e, where f_e is how often a token
/// goes to expert e, and p_e the mean probability of e, over all tokens and layers with experts.           arXiv 2101.03961, eqs. 4 to 6
/// Over the tokens of a whole step, however it is cut, and in whatever process its examples are.
class router_loss {
 public:
  /// `coefficient`: its weight; unset: what the model's config says
  /// throws  error for a weight of a loss that the model hasn't got
  router_loss(transformer_config const& config, std::optional<double> coefficient, process_group group);

  /// Whether it is added at all.
  explicit operator bool() const { return coefficient_ != 0; }

  /// Before a step that several forward passes make: how all of its tokens are spread. `pass(i)` is the i-th of this process's `passes`
  /// passes, asked for the routing. A step of one pass says it itself: no use is returned.
  [[nodiscard]] std::optional<expert_use> before(std::size_t passes, std::function<row_outputs(std::size_t)> const& pass) const;

  [[nodiscard]] double value(expert_use const& step) const;
  /// The cotangent of expert_use::probabilities.   [E]; empty where nothing is added
  [[nodiscard]] std::vector<double> slopes(expert_use const& step) const;
  /// Adds it to a step's loss, and as the metric aux_loss: once, in the leading process.
  void report(expert_use const& step, step_report& report) const;

 private:
  double coefficient_ = 0, experts_ = 0;
  process_group group_;
};

}  // namespace kedge::llm
