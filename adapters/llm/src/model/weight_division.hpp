// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// Units of a model, which a pass enters one after the other: its layers by their numbers, what stands before them, and as unit `layers` what
/// stands behind them.
inline constexpr std::int64_t before_layers = -1;

/// A pass over a model of which a process holds a part.
class unit_pass {
 public:
  virtual ~unit_pass() = default;
  /// Leaves the unit before, and makes this one's weights whole and its gradients zero. Units come in the pass's order, each once: forward from
  /// before_layers to `layers`, backward from `layers` to before_layers.
  virtual void enter(std::int64_t unit) = 0;
  /// Leaves the last one. Gradients are where they belong.
  virtual void finish() = 0;
  /// What the pass reads; of weights that are divided, those of the entered unit alone are there, and the others are undefined.
  [[nodiscard]] virtual pack const& weights() const = 0;
  /// What a backward pass adds to; of gradients that are divided, the same.
  [[nodiscard]] virtual pack& gradient() = 0;
};

/// How the weights of a model, or their gradients, are divided among processes. A pack that the model is given, of parameters or of a gradient, then
/// holds this process's part of every tensor, as [n]. All processes make their packs of weights in the same order; passes over them they may make in
/// any number each.
class weight_division {
 public:
  virtual ~weight_division() = default;
  [[nodiscard]] virtual bool divides_weights() const = 0;
  /// Own parts in a type and on a device, as passes want them: the same tensors where they are so already.
  [[nodiscard]] virtual pack weights_for(pack const& theta, at::Device device, at::ScalarType type) const = 0;
  /// Null where there is nothing to divide in such a pass. weights: of weights_for
  [[nodiscard]] virtual std::unique_ptr<unit_pass> forward(pack const& weights) const = 0;
  [[nodiscard]] virtual std::unique_ptr<unit_pass> backward(pack const& weights, pack& gradient) const = 0;
  /// All of a pack of weights_for, while some of the processes ask for it.
  [[nodiscard]] virtual pack whole(pack const& weights) const = 0;
};

}  // namespace kedge::llm
