// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/memory_plan.hpp>

namespace kedge::llm {

/// Numbers of a run that optimizers read: each those that its formula has.
struct optimizer_settings {
  double weight_decay = 0;  ///< of matrices; vectors (norms, biases) are spared, as transformers does
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< Adam's
};

/// A named part of an optimizer's state: a tensor for each tensor of theta, in its order.
struct optimizer_part {
  std::string_view name;  ///< of its file in a checkpoint
  pack values;
  bool by_elements = true;  ///< number i of a tensor belongs to number i of theta's, so that a run may go on with another number of processes
};

class paged_memory;  ///< a mapped file that holds a state; defined in the library's sources

/// What a resume needs. A copy shares its tensors.
struct optimizer_state {
  std::vector<optimizer_part> parts{};
  std::int64_t steps = 0;                       ///< taken so far
  std::shared_ptr<paged_memory const> pages{};  ///< where the parts lie; null: in memory

  /// A step is done with what belongs to tensor i of theta, or to all: a file takes that back. Nothing where there is none.
  void leave(std::size_t i) const;
  void leave() const;
  /// A step comes to it next.
  void expect(std::size_t i) const;
};

/// One step: θ moves in place. A tensor may be a view, a part of a larger one.
struct optimizer_step {
  pack const& theta;
  pack const& gradient;        ///< of theta's shapes
  double learning_rate = 0;
  double scale = 1;            ///< the gradient is multiplied by it first: clipping
  bool zero_gradient = false;  ///< the gradient is left zero
  pack copies{};               ///< receive the new parameters in their own type; empty: none
};

/// An optimizer: formulas alone. Its numbers, its state and θ are the caller's. A file of train/optimizers/ holds one.
struct optimizer {
  std::string_view name;  ///< as transformers calls it, where it has it
  std::span<std::string_view const> aliases{};
  std::string_view help;  ///< one line
  state_bytes bytes;      ///< of the state
  bool paged = false;     ///< the state, which begins with zeros, lies in a mapped file: memory holds what a step is at
  /// p: all gradients times c, and what is compared with them, make all steps c^p times as long; none: it isn't known.
  std::optional<double> gradient_degree{};
  /// The state before the first step, for parameters of theta's shapes and types; none without it.
  optimizer_state (*init)(pack const& theta) = [](pack const&) { return optimizer_state(); };
  /// Takes state.steps as the number of this step, from 1 on.
  void (*update)(optimizer_settings const& settings, optimizer_state& state, optimizer_step const& step);

  void step(optimizer_settings const& settings, optimizer_state& state, optimizer_step const& step) const {
    ++state.steps;
    update(settings, state, step);
    state.leave();
  }
};

/// The same steps, bit for bit, on a state in a mapped file.   of: its state begins with zeros
[[nodiscard]] constexpr optimizer paged(optimizer of, std::string_view name, std::span<std::string_view const> aliases, std::string_view help) {
  of.name = name;
  of.aliases = aliases;
  of.help = help;
  of.paged = true;
  return of;
}

/// Zeros of the tensors' shapes and types.
[[nodiscard]] pack zeros_like(pack const& theta);

/// All that a step does besides moving θ, around an update that is made of tensor operations: `update` is given the scaled gradient.
void by_tensor_operations(optimizer_step const& step, std::function<void(pack const& gradient)> const& update);

}  // namespace kedge::llm
