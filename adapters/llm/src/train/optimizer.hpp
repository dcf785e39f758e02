// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// Zeros of the tensors' shapes and types.
[[nodiscard]] pack zeros_like(pack const& theta);

/// AdamW on fp32 master weights, by the fused kernel. Weight decay spares vectors (norms), as transformers does.
class adamw {
 public:
  struct settings {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  };

  adamw(pack const& theta, settings settings);

  void step(pack& theta, pack const& gradient, double learning_rate);

  /// First and second moments and the number of steps: what a resume needs.
  pack first, second;
  std::int64_t steps = 0;

 private:
  void step_group(pack& theta, pack const& gradient, bool matrices, double learning_rate);
  settings settings_;
};

/// Euclidean norm over all gradients; scales them so that it is at most max_norm (0: never).
/// returns the norm before clipping
double clip_gradients(pack& gradient, double max_norm);

}  // namespace kedge::llm
