// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "../scale/process_group.hpp"

namespace kedge::llm {

/// The gradient of a step, summed over all processes. Tensors lie in buckets, contiguous memory of some 25 MB, in the order in which
/// a backward pass completes them: a bucket travels while the layers before it are computed. A group of one has no buckets.
class step_gradient {
 public:
  /// `layers`: of the model; `parameters`: of theta, in its order
  step_gradient(process_group const& group, std::vector<parameter> const& parameters, std::int64_t layers, pack const& theta);

  /// What the pullbacks of a step add to; in the end, after finish(), the sum over all processes.
  [[nodiscard]] pack& sum() { return sum_; }
  void zero();
  /// What the step's last pullback calls; before the others nothing must be called. Empty in a group of one.
  [[nodiscard]] layer_callback when_last(bool last);
  /// Sums what is left and waits for all.
  void finish();
  /// Euclidean norm over all tensors.
  [[nodiscard]] double norm() const;

 private:
  struct bucket {
    std::int64_t layer;  ///< complete when this one is
    at::Tensor values;
  };
  void place(std::vector<std::size_t> const& which, std::int64_t layer, pack const& theta);
  void begin_from(std::int64_t layer);

  process_group const& group_;
  pack sum_;
  std::vector<bucket> buckets_;
  std::vector<process_group::pending> under_way_;
};

/// What a gradient is multiplied by so that its norm is at most max_norm (0: never anything but 1), as torch does.
[[nodiscard]] constexpr double clip_scale(double norm, double max_norm) { return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1; }

}  // namespace kedge::llm
