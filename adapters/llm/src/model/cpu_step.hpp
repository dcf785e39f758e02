// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Inner loops of a training step that are not products, written for the processor at hand: fp32, rows of n numbers in a row.
/// Each does in one pass what plain tensor operations do in many. A row's results depend on that row alone.
struct step_kernels {
  /// 1/√(mean x² + eps) of each row.
  void (*inverse_rms)(float const* x, std::size_t rows, std::size_t n, float eps, float* inverse);
  /// out = x · inverse · weight.
  void (*scale)(float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n, float* out);
  /// Backward step of both together: adds to gx, and to the weight's gradient.
  void (*scale_backward)(float const* g, float const* x, float const* inverse, float const* weight, std::size_t rows, std::size_t n,
                         float* gx, float* weight_gradient);
  /// Rotates the halves of `heads` vectors of d numbers in each row by the row's angles, sines times direction. cosine, sine: [rows, d/2]
  void (*rotate)(float* x, float const* cosine, float const* sine, std::size_t rows, std::size_t heads, std::size_t d, float direction);
  /// out = silu(gate) · up.
  void (*swiglu)(float const* gate, float const* up, std::size_t n, float* out);
  void (*swiglu_backward)(float const* g, float const* gate, float const* up, std::size_t n, float* gate_gradient, float* up_gradient);
  /// Attention: scores of queries, `stride` numbers apart, become probabilities; query i sees `visible` + i of its n keys, the others
  /// get 0. log Σ exp(scale · score) of each.
  void (*causal_softmax)(float* scores, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible, float scale, float* log_sum);
  /// Scores become probabilities, their gradients those of the scores before scaling. inner: Σ g ∘ output of each query
  void (*causal_softmax_backward)(float* scores, float* gradient, std::size_t rows, std::size_t stride, std::size_t n, std::size_t visible,
                                  float scale, float const* log_sum, float const* inner);
  /// Σ a ∘ b.
  float (*dot)(float const* a, float const* b, std::size_t n);
  /// Scores become probabilities; log Σ exp of each row.
  void (*softmax)(float* scores, std::size_t rows, std::size_t n, float* log_sum);
};

/// Those of this processor; null where none are written for it.
[[nodiscard]] step_kernels const* fast_step();

}  // namespace kedge::llm
