// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/train/optimizer.hpp>

#include "../scale/buckets.hpp"
#include "../scale/process_group.hpp"
#include "step_gradient.hpp"

namespace kedge::llm {

/// θ through the steps of a round: the weights that passes read, the gradient that they add to, and the move of an optimizer. In a group
/// every process has room for all of θ and moves the part that it owns. What passes read is sent to all after each move; θ itself, where passes
/// read copies in a shorter type, only when somebody asks for it: complete(). Where the model is divided, the gradient holds own parts alone, and so
/// do θ and weights where these are divided too: then nothing is sent after a move.
class trained_parameters {
 public:
  /// `theta`: becomes the leading process's in all of them; it must outlive this
  /// `names`: of theta's tensors; `division`: of all models that they are of
  trained_parameters(process_group const& group, causal_lm const& model, std::vector<parameter> const& names, pack& theta, divided_pack const& division);
  trained_parameters(process_group const& group, causal_lm const& model, pack& theta)
      : trained_parameters(group, model, model.parameters(), theta, divided_pack(model)) {}
  trained_parameters(trained_parameters const&) = delete;
  trained_parameters& operator=(trained_parameters const&) = delete;

  /// What of θ this process owns.
  [[nodiscard]] pack const& own() const { return own_; }
  /// What passes read: θ itself, or its copies in the computation's type. Waits until all that was sent is there.
  [[nodiscard]] pack const& weights();
  /// Zero at the start, and after every move.
  [[nodiscard]] step_gradient& gradient() { return gradient_; }

  /// One step of the optimizer by `scale` times the gradient; weights follow θ, and the gradient is zero again.
  void move(optimizer const& by, optimizer_settings const& settings, optimizer_state& state, double learning_rate, double scale);
  /// Makes θ whole, the same in all processes, which call it together before they read θ.
  void complete();

 private:
  void begin_exchange(pack const& buckets);
  void await_exchange();
  [[nodiscard]] pack own_of(pack const& values, bool divided) const;

  process_group const& group_;
  pack& theta_;
  divided_pack division_;
  bool whole_weights_;       ///< θ and weights are whole in every process
  bucket_layout layout_;
  pack masters_;             ///< buckets of θ; none in a group of one
  pack weights_, copies_;    ///< and those of the weights, where they are copies
  bool copied_, whole_ = true;
  step_gradient gradient_;
  pack own_, own_gradient_;  ///< as views
  optimizer_step step_{own_, own_gradient_};
  std::vector<process_group::pending> under_way_;
};

}  // namespace kedge::llm
