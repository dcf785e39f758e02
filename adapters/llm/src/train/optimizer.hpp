// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/moments.hpp>

#include "../kernels/adam.hpp"

namespace kedge::llm {

/// Zeros of the tensors' shapes and types.
[[nodiscard]] pack zeros_like(pack const& theta);

/// AdamW on fp32 master weights. Weight decay spares vectors (norms), as transformers does. The tensors of a pack may be views, rows of
/// larger ones: where they are contiguous, fp32 and on the host, a step is one pass over memory; elsewhere it is made of tensor
/// operations with the same result up to rounding.
class adamw {
 public:
  struct settings {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
    moment_type moments = moment_type::same;
  };
  /// What a step does besides.
  struct extras {
    double scale = 1;            ///< the gradient is multiplied by it first: clipping
    bool zero_gradient = false;  ///< the gradient is left zero
    pack copies{};               ///< receive the new parameters in their own type; empty: none
  };

  adamw(pack const& theta, settings settings);

  /// throws  nothing of its own; the packs must have the shapes of the one given at the start
  void step(pack& theta, pack const& gradient, double learning_rate, extras const& more);
  void step(pack& theta, pack const& gradient, double learning_rate) { step(theta, gradient, learning_rate, extras()); }

  /// First and second moments and the number of steps: what a resume needs. Of 8 bits they are codes and the blocks' scales, where the
  /// second moments are kept as their roots.
  pack first, second, first_scale, second_scale;
  std::int64_t steps = 0;

 private:
  void step_group(pack& theta, pack const& gradient, bool matrices, double learning_rate);
  void step_fast(at::Tensor& theta, at::Tensor const& gradient, at::Tensor const& copy, std::size_t place, adam_numbers const& numbers);
  void step_plain(at::Tensor& theta, at::Tensor const& gradient, std::size_t place, adam_numbers const& numbers);
  [[nodiscard]] bool fast(pack const& theta, pack const& gradient, pack const& copies) const;
  settings settings_;
};

/// Euclidean norm over all gradients.
[[nodiscard]] double norm_of(pack const& gradient);

/// What a gradient is multiplied by so that its norm is at most max_norm (0: never anything but 1), as torch does.
[[nodiscard]] double clip_scale(double norm, double max_norm);

}  // namespace kedge::llm
