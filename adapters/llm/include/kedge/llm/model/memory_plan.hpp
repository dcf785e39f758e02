// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/moments.hpp>

namespace kedge::llm {

/// What a preference run holds in memory, in bytes. There is no second model: reference log-probabilities are cached.
struct memory_plan {
  std::int64_t parameters = 0, trained = 0;  ///< trained: the adapter's with LoRA, else all
  std::int64_t weights = 0;                  ///< what the computation reads: bf16, 2 a parameter; in fp32 the masters themselves
  std::int64_t masters = 0;                  ///< fp32, 4 a trained parameter
  std::int64_t gradients = 0;                ///< fp32, 4 a trained parameter
  std::int64_t moments = 0;                  ///< AdamW's two: fp32, 8 a trained parameter; bf16, 4; 8 bits, 2 and a 64th
  std::int64_t activations = 0;              ///< kept for the backward pass, a token

  [[nodiscard]] std::int64_t states() const { return weights + masters + gradients + moments; }
};

/// Bytes that the layers keep of a token for the backward pass: layers · (2 w H + b (2 q + 2 kv + 2 I) + w heads), with b those of
/// a number of the computation and w ≥ 4 of the residual stream, H the hidden size, I that of the MLP, q and kv the widths of
/// queries and keys; norms of heads and outputs keep their inputs, w bytes a number, as well.
/// With gradient checkpointing it is layers · w H, and one layer's share while it is computed again.
[[nodiscard]] std::int64_t activation_bytes_per_token(transformer_config const& config, std::int64_t word);

/// Bytes that are left for activations on a machine with `available` free ones: four fifths of them, less what a run of rounds
/// holds besides: weights, gradient, two moments and two earlier iterates, and the copy that bf16 computes with. At least 0.
[[nodiscard]] std::int64_t activation_budget(transformer_config const& config, std::int64_t word, std::int64_t available);

/// What a plan is made for.
struct plan_settings {
  std::int64_t lora_rank = 0;  ///< of an adapter on all linear maps of the layers; 0: all parameters are trained
  moment_type moments = moment_type::same;
  std::int64_t word = 2;       ///< bytes of a number of the computation: bf16 2, fp32 4
};
[[nodiscard]] memory_plan plan_memory(transformer_config const& config, plan_settings const& settings = {});

/// The largest resident set of a run on the host that computes so many tokens at a time: states, activations, the probabilities that the
/// head keeps, and the program with LibTorch. Measured runs of SmolLM2-135M are within a tenth of it.
[[nodiscard]] std::int64_t resident_bytes(memory_plan const& plan, std::int64_t tokens, std::int64_t kept_logits);

/// The plan and what fits on devices of 80 GB (80 · 10⁹ bytes, a tenth of them left free for temporaries): one device; eight that
/// each hold a copy and share the optimiser (masters and moments); eight that share everything but the weights; LoRA of rank 16.
/// And the resident set of a run on a host, 512 tokens at a time.
[[nodiscard]] nlohmann::ordered_json describe_memory(transformer_config const& config, moment_type moments = moment_type::same);

}  // namespace kedge::llm
