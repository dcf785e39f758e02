// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/optimizer.hpp>

#include "../scale/process_group.hpp"
#include "step_gradient.hpp"

namespace kedge::llm {

/// θ through the steps of a round: the weights that passes read, the gradient that they add to, and the move of an optimizer. Every process
/// of a group holds θ, moves the rows that it owns, and is given the others'.
class trained_parameters {
 public:
  /// `theta`: becomes the leading process's in all of them; it must outlive this
  trained_parameters(process_group const& group, causal_lm const& model, pack& theta);
  trained_parameters(trained_parameters const&) = delete;
  trained_parameters& operator=(trained_parameters const&) = delete;

  /// The rows of θ that this process owns.
  [[nodiscard]] pack const& own() const { return own_; }
  /// What passes read: θ itself, or its copies in the computation's type.
  [[nodiscard]] pack const& weights() const { return weights_; }
  /// Zero at the start, and after every move.
  [[nodiscard]] step_gradient& gradient() { return gradient_; }

  /// One step of the optimizer by `scale` times the gradient; weights follow θ, and the gradient is zero again.
  void move(optimizer const& by, optimizer_settings const& settings, optimizer_state& state, double learning_rate, double scale);

 private:
  process_group const& group_;
  pack& theta_;
  pack weights_;
  step_gradient gradient_;
  bool copied_;              ///< weights are copies
  pack own_, own_gradient_;  ///< the owned rows, as views
  optimizer_step step_{own_, own_gradient_};
};

}  // namespace kedge::llm
