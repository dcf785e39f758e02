// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "divided_model.hpp"

namespace kedge::llm {

/// θ of the models that a run trains, one behind the other, where they are divided; nothing where they aren't.
class divided_pack {
 public:
  divided_pack() = default;
  divided_pack(causal_lm const& model) { add(model); }
  /// Of a model whose tensors follow those that are there.
  void add(causal_lm const& model) {
    if (auto division = division_of(model)) models_.push_back(std::move(division));
  }

  [[nodiscard]] explicit operator bool() const { return !models_.empty(); }
  [[nodiscard]] bool divides_weights() const { return !models_.empty() && models_.front()->divides_weights(); }

  /// What this process owns of the first `count` tensors, and a pack's numbers in it, as divided_model has them.
  [[nodiscard]] shard own(std::size_t count) const;
  [[nodiscard]] pack shaped(pack const& own) const;
  /// Own parts of all tensors, as zeros; and the memory of each model's.
  [[nodiscard]] pack zeros(at::TensorOptions const& options) const;
  [[nodiscard]] pack memories(pack const& own) const;
  [[nodiscard]] pack cut(pack const& whole) const;
  /// See weight_division. In their own type and place: so that single tensors can be asked for.
  [[nodiscard]] pack weights_for(pack const& theta, at::Device device, at::ScalarType type) const;
  [[nodiscard]] pack known(pack const& theta) const {
    return divides_weights() ? weights_for(theta, theta.front().device(), theta.front().scalar_type()) : theta;
  }
  [[nodiscard]] shard share() const { return own(static_cast<std::size_t>(-1)); }
  void collect_in(pack const& gradient) const;

 private:
  template <class Each>
  void for_each(std::size_t count, Each const& each) const;

  std::vector<std::shared_ptr<divided_model const>> models_;
};

}  // namespace kedge::llm
