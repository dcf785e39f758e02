// SPDX-License-Identifier: Apache-2.0
#pragma once

// Products of bf16 matrices in 8 bits (arXiv 2209.05433): on a GPU by its tensor cores, on the host by the same numbers multiplied in fp32.

#include <kedge/adapters/torch.hpp>

namespace kedge::llm::fp8 {

/// A tensor in 8 bits: x ≈ scale · numbers, where the scale is the smallest power of two by which every number fits. To divide by it is exact, so
/// that a number is rounded once: to 3 bits after the point in e4m3 (relative error at most 2⁻⁴; below scale · 2⁻⁶ absolute, at most scale · 2⁻¹⁰),
/// to 2 in e5m2 (2⁻³; below scale · 2⁻¹⁴ at most scale · 2⁻¹⁷). A NaN or an infinity among the numbers makes all products with them NaN.
struct scaled {
  at::Tensor numbers;  ///< of x's shape
  at::Tensor scale;    ///< [], fp32
};

/// type: at::kFloat8_e4m3fn, as activations and weights are kept, or at::kFloat8_e5m2, as gradients are
[[nodiscard]] scaled narrowed(at::Tensor const& x, at::ScalarType type);

/// Whether rows of x or of its gradient are multiplied by a weight in 8 bits: both bf16, where tensors go a GPU's way, and the weight's sides
/// multiples of 16, as its tensor cores ask.   x: [T, in or out], weight: [out, in]
[[nodiscard]] bool takes(at::Tensor const& x, at::Tensor const& weight);

/// x Wᵀ, both in e4m3, summed in fp32.   x: [T, in], W: [out, in] -> [T, out] in bf16
[[nodiscard]] at::Tensor linear(at::Tensor const& x, at::Tensor const& weight);

/// g W, the gradient in e5m2.   g: [T, out] -> [T, in] in bf16
[[nodiscard]] at::Tensor input_gradient(at::Tensor const& g, at::Tensor const& weight);

}  // namespace kedge::llm::fp8
