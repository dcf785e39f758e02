// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

#include "../scale/buckets.hpp"
#include "../scale/divided_pack.hpp"
#include "../scale/process_group.hpp"

namespace kedge::llm {

/// The gradient of a step, in buckets. In a group each process adds to one of its own; a bucket travels while the layers before it are computed, and
/// in the end a process has the sum over all of them in the part of each bucket that it owns. Where gradients are divided it holds that part alone,
/// and every pass brings its sums.
class step_gradient {
 public:
  step_gradient(process_group const& group, bucket_layout const& layout, pack const& theta);
  /// Of models whose gradients are divided.   options: type and device of θ
  step_gradient(process_group const& group, divided_pack const& of, at::TensorOptions const& options);

  /// What the pullbacks of a step add to; after finish() it holds the sum over all processes where this process owns it. Own parts where it is divided.
  [[nodiscard]] pack& sum() { return sum_; }
  void zero();
  /// What the step's last pullback calls; before the others nothing must be called. Empty in a group of one.
  [[nodiscard]] layer_callback when_last(bool last);
  /// Sums what is left and waits for all.
  void finish();
  /// Euclidean norm of the sum over all tensors: the root of what the processes' own parts add up to, the same bits in all of them.
  [[nodiscard]] double norm() const;

 private:
  void begin_from(std::int64_t layer);

  process_group const& group_;
  bool divided_ = false;
  std::vector<std::int64_t> complete_with_;  ///< a layer for each bucket
  pack buckets_, sum_;
  std::vector<process_group::pending> under_way_;
};

/// What a gradient is multiplied by so that its norm is at most max_norm (0: never anything but 1), as torch does.
[[nodiscard]] constexpr double clip_scale(double norm, double max_norm) { return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1; }

}  // namespace kedge::llm
