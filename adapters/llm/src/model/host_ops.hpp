// SPDX-License-Identifier: Apache-2.0
#pragma once

// The pieces of a step on the processor, by its kernels: tensors in, tensors out. Their plain twins are in ops.

#include <vector>

#include <kedge/adapters/torch.hpp>
#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/config.hpp>

#include "../kernels/gates.hpp"

namespace kedge::llm::ops {
struct attention_settings;
}

#include "distribution.hpp"

namespace kedge::llm::host_ops {

/// Whether there are kernels for such numbers: fp32 on the host.
[[nodiscard]] bool takes(at::Tensor const& x);

/// Whether there are products with such a matrix: fp32 or bf16 on the host. Then activations need not be narrower than fp32.
[[nodiscard]] bool multiplies_by(at::Tensor const& weight);

/// Whether the other operand of a product with a bf16 matrix is rounded to bf16 too: matrix units multiply nothing else, and several times as
/// fast as the processor does fp32.
[[nodiscard]] bool rounds_operands();

/// c = a b, or c = onto + a b, summed in fp32; of the operands see rounds_operands.   a: [m, k], b: [k, n], each fp32 or bf16, one of its strides 1; c and onto: [m, n], fp32, with
/// the same strides, rows contiguous; onto may be c
void multiply(at::Tensor const& c, at::Tensor const& a, at::Tensor const& b, at::Tensor const& onto = {});

/// x in another type, fp32 or bf16; x itself where it has that type.
[[nodiscard]] at::Tensor converted(at::Tensor const& x, at::ScalarType type);

/// 1/√(mean x² + eps).   x: [T, H] -> [T, 1]
[[nodiscard]] at::Tensor inverse_rms(at::Tensor const& x, double eps);
/// x ∘ inverse ∘ (weight + offset).
[[nodiscard]] at::Tensor scale(at::Tensor const& x, at::Tensor const& inverse, at::Tensor const& weight, double offset);
/// gx and weight_gradient grow by what comes back through inverse_rms and scale.
void scale_backward(at::Tensor const& g, at::Tensor const& x, at::Tensor const& inverse, at::Tensor const& weight,
                    double offset, at::Tensor& gx, at::Tensor& weight_gradient);

/// x less the mean of each row.   x: [T, H]
[[nodiscard]] at::Tensor centred(at::Tensor const& x);

/// In place; coordinates beyond those that turn stay.   x: [T, heads, d], cosine and sine: [T, 1, at most d/2]   interleaved: neighbours are a
/// pair, instead of halves
void rotate(at::Tensor const& x, at::Tensor const& cosine, at::Tensor const& sine, double direction, bool interleaved = false);

/// The kernels' name for a nonlinearity.
[[nodiscard]] gate_function function_of(activation act);

/// act(x), act(gate) ∘ up, and their gradients.   all contiguous
[[nodiscard]] at::Tensor activated(activation act, at::Tensor const& x);
[[nodiscard]] at::Tensor activated_backward(activation act, at::Tensor const& g, at::Tensor const& x);
[[nodiscard]] at::Tensor gated(activation act, at::Tensor const& gate, at::Tensor const& up);
void gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up,
                    at::Tensor& gate_gradient, at::Tensor& up_gradient);

/// cap · tanh(x / cap), in place.   x: contiguous
void soft_cap_(at::Tensor& x, double cap);

/// Rows of scores become probabilities.   -> log Σ exp, [R, 1]
[[nodiscard]] at::Tensor softmax_(at::Tensor& scores);
[[nodiscard]] ops::distribution distribution_(at::Tensor& scores, at::Tensor const& targets);
[[nodiscard]] at::Tensor square_sums(at::Tensor const& x);

/// All runs of a batch, those with most to do in front, equal ones in their order: so threads that become free take them.
[[nodiscard]] std::vector<attention_run> runs_by_cost(std::vector<shared_prompt> const& prompts);

/// Attention over shared prompts; log_sums: [heads, T], made by the forward step. The order of `runs` changes no bit of an output; in
/// it the gradients of shared keys are added up.
[[nodiscard]] at::Tensor attention(std::vector<attention_run> const& runs, ops::attention_settings const& settings,
                                   at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor& log_sums);
void attention_backward(std::vector<attention_run> const& runs, ops::attention_settings const& settings, at::Tensor const& g,
                        at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& out,
                        at::Tensor const& log_sums, at::Tensor& gq, at::Tensor& gk, at::Tensor& gv);

}  // namespace kedge::llm::host_ops
