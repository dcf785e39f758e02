// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/fsdp.hpp>
#include <kedge/llm/model/lora_settings.hpp>

namespace kedge::llm {

/// Bytes of an optimizer's state for so many trained parameters, whose masters have `word` bytes each.
using state_bytes = std::int64_t (*)(std::int64_t parameters, std::int64_t word);
/// AdamW's, with both moments as the masters are.
[[nodiscard]] constexpr std::int64_t adamw_state_bytes(std::int64_t parameters, std::int64_t word) { return 2 * word * parameters; }

/// Bytes of head probabilities that a computation keeps for the backward pass, unless it is told otherwise.
inline constexpr std::int64_t default_kept_logits = 256 << 20;

/// What a process of a training run holds in memory, in bytes. A run on pairs has no second model: reference log-probabilities are cached.
struct memory_plan {
  std::int64_t parameters = 0, trained = 0;  ///< of a model; trained: the adapter's with LoRA, else all
  std::int64_t weights = 0;                  ///< what the computation reads: bf16, 2 a parameter; none where that is the masters themselves
  std::int64_t masters = 0;                  ///< fp32, 4 a trained parameter; this process's share where weights are divided
  std::int64_t gradients = 0;                ///< fp32, 4 a trained parameter; this process's share where they are divided
  std::int64_t gathered = 0;                 ///< what is divided, of the layers that are whole while a pass computes them
  std::int64_t moments = 0;                  ///< the optimizer's state, this process's share
  std::int64_t points = 0;                   ///< fp32, 4 a trained parameter of each
  std::int64_t activations = 0;              ///< kept for the backward pass, a token

  [[nodiscard]] std::int64_t states() const { return weights + masters + gradients + gathered + moments + points; }
};

/// What a plan is made for.
struct plan_settings {
  std::optional<lora_settings> lora{};  ///< an adapter; none: all parameters are trained
  state_bytes optimizer = adamw_state_bytes;
  std::int64_t word = 2;                ///< bytes of a number of the computation: bf16 2, fp32 4, fp64 8, which masters and gradients then have too
  bool reads_masters = false;           ///< products of a bf16 run read the fp32 masters: there is no copy
  std::int64_t processes = 1;           ///< that keep a share of the optimizer's state each (ZeRO-1)
  division divided = division::none;    ///< and of gradients, and weights
  std::int64_t points = 0;              ///< parameters kept besides those that are trained: an anchor, an earlier iterate
  std::optional<std::int64_t> frozen_bytes{};  ///< of the base under the adapter, where it isn't all in `word`
  std::int64_t models = 1;              ///< that are trained side by side: two where a policy has a value model of its own
};

/// Bytes that the layers keep of a token for the backward pass: layers · (2 w H + b (2 q + 2 kv + 2 I) + w heads), with b those of
/// a number of the computation and w ≥ 4 of the residual stream, H the hidden size, I that of the MLP, q and kv the widths of
/// queries and keys; norms of heads and outputs keep their inputs, w bytes a number, as well.
/// With gradient checkpointing it is layers · w H, and one layer's share while it is computed again.
[[nodiscard]] std::int64_t activation_bytes_per_token(transformer_config const& config, std::int64_t word);

/// Bytes that are left for the activations of each model where a process has `available` free ones before it begins: four fifths of
/// them, less the states of the plan. At least 0.
[[nodiscard]] std::int64_t activation_budget(transformer_config const& config, plan_settings const& settings, std::int64_t available);

[[nodiscard]] memory_plan plan_memory(transformer_config const& config, plan_settings const& settings = {});

/// The largest resident set of a run on the host that computes so many tokens at a time: states, activations, the probabilities that the
/// head keeps, and the program with LibTorch. Measured runs of SmolLM2-135M are within a tenth of it.
[[nodiscard]] std::int64_t resident_bytes(memory_plan const& plan, std::int64_t tokens, std::int64_t kept_logits);

/// What is counted in a description.
struct described_run {
  state_bytes optimizer = adamw_state_bytes;
  std::int64_t processes = 1;
  division divided = division::none;
};

/// The plan of a bf16 run, of one of its processes, and what fits on devices of 80 GB (80 · 10⁹ bytes, a tenth of them left free for
/// temporaries): one device; as many as there are processes, or eight, that share the moments; one with LoRA of rank 16.
/// And the resident set of a process on a host, 512 tokens at a time.
[[nodiscard]] nlohmann::ordered_json describe_memory(transformer_config const& config, described_run const& run = {});

}  // namespace kedge::llm
