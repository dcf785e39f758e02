// SPDX-License-Identifier: Apache-2.0
#pragma once

// The pieces of a transformer, each a forward step and its hand-written backward step. Weight gradients are added to
// accumulators of at least fp32. Nothing here records with autograd. Plain tensor operations for any device and type; where this
// processor has kernels (host_ops.hpp), or a GPU (gpu_ops.hpp), those.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/config.hpp>

#include "distribution.hpp"

namespace kedge::llm::ops {

/// The type of activations between products with such a weight: the weight's own, or fp32 where that costs no time.
[[nodiscard]] at::ScalarType stream_type(at::Tensor const& weight);

/// fp32, or fp64 where it is that: the type of sums, norms and the residual stream.
[[nodiscard]] at::Tensor wide(at::Tensor const& x);

/// x in another type.
[[nodiscard]] at::Tensor converted(at::Tensor const& x, at::ScalarType type);

/// x Wᵀ.   x: [T, in], W: [out, in] -> [T, out]
at::Tensor linear(at::Tensor const& x, at::Tensor const& weight);

/// x Wᵀ, written where columns of a larger tensor are.   out: [T, out], in x's type
void linear_out(at::Tensor& out, at::Tensor const& x, at::Tensor const& weight);

/// x Wᵀ + b, in one launch on a GPU.
at::Tensor affine(at::Tensor const& x, at::Tensor const& weight, at::Tensor const& bias);

/// x Wᵀ in at least fp32, summed and left there: for logits, whose rounding to bf16 would cost a confident token a part of its 1 − p.
at::Tensor linear_wide(at::Tensor const& x, at::Tensor const& weight);

/// residual + x Wᵀ, in the residual's type.
at::Tensor linear_onto(at::Tensor const& residual, at::Tensor const& x, at::Tensor const& weight);

/// g W, the input gradient of linear.   g: [T, out] -> [T, in]
at::Tensor input_gradient(at::Tensor const& g, at::Tensor const& weight);

/// onto += g W.
void add_input_gradient(at::Tensor& onto, at::Tensor const& g, at::Tensor const& weight);

/// x as it is multiplied by such a weight: its numbers rounded to bf16 where products of bf16 are faster.
at::Tensor operand(at::Tensor const& x, at::Tensor const& weight);

/// accumulator += gᵀ x, the weight gradient of linear. Where x is an operand() of bf16, so is g.
void add_weight_gradient(at::Tensor& accumulator, at::Tensor const& g, at::Tensor const& x);

/// The residual stream. On a GPU what came last waits for the norm that reads it next, and is added there on the way.
struct residual_stream {
  at::Tensor x;        ///< [T, H], at least fp32
  at::Tensor waiting;  ///< [T, H]; undefined: nothing
  double scale = 1;    ///< of what waits

  /// x + scale · y, now or on the way.
  void add(at::Tensor y, double by);
  /// Whether y would wait.
  [[nodiscard]] bool waits_for_norms(at::Tensor const& y) const;
  /// All of it.
  at::Tensor const& sum();
  /// Some rows of it.
  [[nodiscard]] residual_stream rows(at::Tensor const& index) const;
};

/// RMS normalisation in Hugging Face's order: scaled in the residual's type, rounded to the type between products, then weighted. With an
/// offset (Gemma) the weight is that much more than what is stored, and rounding comes last.
struct rms_norm {
  at::Tensor x, inverse_rms;  ///< [T, H], [T, 1]
  double eps = 0, offset = 0;
  bool centred = false;       ///< x is the input less its mean: layer normalisation

  rms_norm() = default;
  rms_norm(at::Tensor input, double eps, double weight_offset = 0, norm_kind kind = norm_kind::rms);
  /// Where there is no norm: the input itself, whose weight is undefined.
  [[nodiscard]] static rms_norm none(at::Tensor input);
  [[nodiscard]] at::Tensor output(at::Tensor const& weight) const;
  /// The same with a bias added where there is one, or the input in this type where there is no norm.
  [[nodiscard]] at::Tensor output(at::Tensor const& weight, at::Tensor const& bias, at::ScalarType type) const {
    if (!weight.defined()) return converted(x, type);
    return bias.defined() ? output(weight).add_(bias) : output(weight);
  }
  /// Gradient with respect to the input, in this type; adds the weight's, unless its gradient is undefined.
  [[nodiscard]] at::Tensor backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& weight_gradient, at::ScalarType type) const;
  /// The same, added to gx.
  void add_backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& gx, at::Tensor& weight_gradient) const {
    at::Tensor narrowed;
    add_backward(g, weight, gx, weight_gradient, narrowed, gx.scalar_type());
  }
  /// narrowed: becomes gx in this type, where that costs no launch; undefined elsewhere
  void add_backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& gx, at::Tensor& weight_gradient, at::Tensor& narrowed,
                    at::ScalarType type) const;

 private:
  [[nodiscard]] bool on_gpu(at::Tensor const& weight) const;
};

/// How a family normalises.
struct norm_settings {
  double eps;
  double weight_offset = 0;
  norm_kind kind = norm_kind::rms;
};

/// What is read of the stream through a norm, in the type of its weight; without a weight as it is, in this type. On a GPU one launch, with what
/// waits and all.   kept: for the way back
at::Tensor normalised(residual_stream& stream, norm_settings const& settings, at::Tensor const& weight, at::Tensor const& bias, at::ScalarType type,
                      rms_norm& kept);

/// act(x), and its gradient.
at::Tensor activated(activation act, at::Tensor const& x);
at::Tensor activated_backward(activation act, at::Tensor const& g, at::Tensor const& x);

/// act(gate) ∘ up, and its gradients.
at::Tensor gated(activation act, at::Tensor const& gate, at::Tensor const& up);
struct gated_gradients {
  at::Tensor gate, up;  ///< side by side where gate and up lie so
  at::Tensor inner{};   ///< act(gate) ∘ up once more, where that costs no launch; undefined elsewhere
};
gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up);

/// cap · tanh(x / cap), in place; a cap of 0 changes nothing.
at::Tensor& soft_cap_(at::Tensor& x, double cap);
/// g · (1 − (y / cap)²), in place: y is what soft_cap_ gave.
at::Tensor& soft_cap_backward_(at::Tensor& g, at::Tensor const& y, double cap);

/// Rotary embedding: halves rotated by position times frequency.
struct rotation {
  at::Tensor cosine, sine;  ///< [T, 1, d/2], at least fp32
  bool interleaved = false; ///< neighbours are a pair, instead of halves
  at::Tensor growth;        ///< [T, 1, 1], of queries; undefined: 1

  rotation() = default;
  /// frequencies: [d/2] or [T, d/2]; cosines and sines are multiplied by `factor`
  rotation(at::Tensor const& positions, at::Tensor const& frequencies, at::ScalarType type, double factor = 1);
  /// In place; coordinates beyond those that turn stay. The inverse rotation is the transpose, hence the backward step.   x: [T, heads, d]
  at::Tensor forward(at::Tensor x) const {
    turn_(x, 1);
    return x;
  }
  at::Tensor backward(at::Tensor g) const {
    turn_(g, -1);
    return g;
  }
  /// Queries and keys, or their gradients, and what queries grow by. In one launch on a GPU, where they lie side by side.
  void forward_(at::Tensor const& q, at::Tensor const& k) const {
    turn_(q, k, 1);
    if (growth.defined()) q.mul_(growth);
  }
  void backward_(at::Tensor const& gq, at::Tensor const& gk) const {
    if (growth.defined()) gq.mul_(growth);
    turn_(gq, gk, -1);
  }

 private:
  void turn_(at::Tensor const& x, double direction) const;
  void turn_(at::Tensor const& q, at::Tensor const& k, double direction) const;
};

/// Rows of scores become probabilities, in place.   -> log Σ exp of each, [R, 1]
at::Tensor softmax_(at::Tensor& scores);
/// The same numbers, bit for bit, and figures of each row.   targets: [R]
/// cost    on the host some 2 operations more a score, of 25; on other devices 4 reads or writes of the scores more, of 9
distribution distribution_(at::Tensor& scores, at::Tensor const& targets);
/// Σ x² of each row.   [R, n] -> [R, 1]
[[nodiscard]] at::Tensor square_sums(at::Tensor const& x);

/// How scores become attention: products times `scale`, capped, and only of keys that the query sees.
struct attention_settings {
  double scale = 1, soft_cap = 0;
  std::int64_t window = 0;  ///< keys that a query sees, its own included; 0: all before it
  at::Tensor sinks{};       ///< [heads] scores that stand for no key; undefined: none
};

/// What a GPU's kernel is told of a batch's segments (varlen_attention.hpp), on the device.
struct varlen_lists {
  at::Tensor keys, query_ends, key_ends;
  at::Tensor starts, places;  ///< where each token stands among the keys: inverse_lists
  std::int64_t most_queries = 0, most_keys = 0;
};

struct ring_segments;  ///< of a batch that several processes share: ring_attention.hpp

/// Where the segments of a ragged batch lie, for attention in all layers. Where there are lists, or a ring, they alone are read.
struct attention_segments {
  attention_segments(std::vector<shared_prompt> of_prompts = {}, varlen_lists in_lists = {});

  std::vector<shared_prompt> prompts;
  std::vector<attention_run> runs;  ///< of all prompts, as the processor's threads take them
  varlen_lists lists;
  std::shared_ptr<ring_segments const> ring{};
};

/// Causal attention over the segments of a ragged batch: the first completion of a prompt runs on with it, every further
/// one attends to prompt and itself, all of them to a prefix that stands in an earlier prompt.   q: [T, heads, d], k and v: [T, kv_heads, d]
class shared_prompt_attention {
 public:
  shared_prompt_attention() = default;
  /// segments: must outlive this
  shared_prompt_attention(attention_segments const& segments, attention_settings settings) : segments_(&segments), settings_(settings) {}

  /// -> [T, heads, d]
  at::Tensor forward(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v);
  struct gradients {
    at::Tensor q, k, v;
    at::Tensor sinks{};  ///< [heads], fp32 or fp64
  };
  gradients backward(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                     at::Tensor const& output) const;

 private:
  [[nodiscard]] bool goes_fast(at::Tensor const& q) const;
  [[nodiscard]] at::Tensor without_sinks(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v);
  void join_sinks(at::Tensor& output);
  [[nodiscard]] at::Tensor sink_gradient(at::Tensor const& g, at::Tensor const& output) const;
  [[nodiscard]] gradients of_keys(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& output) const;

  attention_segments const* segments_ = nullptr;
  attention_settings settings_;
  std::vector<at::Tensor> log_sums_;  // of each attention call, in order; of all at once by the processor's own loops
};

}  // namespace kedge::llm::ops
