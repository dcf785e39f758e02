// SPDX-License-Identifier: Apache-2.0
#pragma once

// The pieces of a step on a GPU, by its kernels: tensors in, tensors out. Each is one launch unless it says otherwise. Their plain twins are in ops.

#include <optional>
#include <utility>

#include <kedge/adapters/torch.hpp>
#include <kedge/llm/model/config.hpp>

#include "distribution.hpp"

namespace kedge::llm::gpu_ops {

/// Whether there are kernels for such numbers: fp32 or bf16 on a device with kernels, the numbers of a row side by side.
[[nodiscard]] bool takes(at::Tensor const& x);

/// x' = x + scale · added, r = 1/√(mean x'² + eps), x' r (weight + offset).
struct normed {
  at::Tensor sum;          ///< x': [T, H]; x itself where nothing is added
  at::Tensor inverse_rms;  ///< r: [T, 1]
  at::Tensor out;          ///< [T, H], in the weight's type
};
/// x: [T, H], fp32; added: the same, of either type; undefined: nothing
[[nodiscard]] normed norm(at::Tensor const& x, at::Tensor const& added, double scale, at::Tensor const& weight, double offset, double eps);

/// gx and weight_gradient grow by what comes back. Two launches where there is a weight's gradient.
/// gx: [T, H], fp32; weight_gradient: [H], fp32; undefined: none   narrowed: becomes gx once more in its own type; may be gx itself
void norm_backward(at::Tensor const& g, at::Tensor const& x, at::Tensor const& inverse_rms, at::Tensor const& weight, double offset, at::Tensor const& gx,
                   at::Tensor const& narrowed, at::Tensor const& weight_gradient);

/// In place; coordinates beyond those that turn stay.   x: [T, heads, d], whose rows may lie apart; cosine and sine: [T, 1, at most d/2], fp32
void rotate_(at::Tensor const& x, at::Tensor const& cosine, at::Tensor const& sine, double direction, bool interleaved);

/// act(gate) ∘ up, and back.   gate_up: [T, 2 I], side by side
[[nodiscard]] at::Tensor gated(activation act, at::Tensor const& gate_up);
struct gated_gradients {
  at::Tensor gate_up;  ///< [T, 2 I]
  at::Tensor inner;    ///< act(gate) ∘ up once more
};
[[nodiscard]] gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate_up);

/// What the softmax of some rows of scores gives, each [R] fp32; undefined: not wanted.
struct softmax_rows {
  at::Tensor log_sum, logp, entropy{}, mean{}, likeliest{}, square_sum{};
};
/// scores: [R, V], fp32, contiguous; targets: [R]   residual: becomes c (p − (1 − ε) onehot − ε/V), formed in fp32; undefined: isn't made.
/// [R, V]; may be in_place_of(scores)   slopes: c, [R], fp32; undefined: 1
void softmax(at::Tensor const& scores, at::Tensor const& targets, double smoothing, softmax_rows const& out, at::Tensor const& residual,
             at::Tensor const& slopes);
/// Memory for a residual of this type in that of the scores, which are used up.
[[nodiscard]] at::Tensor in_place_of(at::Tensor const& scores, at::ScalarType type);

/// k[index], v[index].   k, v: [T, heads, d], whose rows may lie apart -> [K, heads, d]
[[nodiscard]] std::pair<at::Tensor, at::Tensor> gather(at::Tensor const& index, at::Tensor const& k, at::Tensor const& v);

/// The way back, with sums in fp32 whose order is fixed: to[t] = Σ of from[places[j]] over starts[t] ≤ j < starts[t + 1].
/// from: [K, …]; to: [T, …], rows may lie apart   v: undefined for one tensor alone
void reduce(at::Tensor const& starts, at::Tensor const& places, at::Tensor const& k, at::Tensor const& v, at::Tensor const& to_k, at::Tensor const& to_v);

}  // namespace kedge::llm::gpu_ops
