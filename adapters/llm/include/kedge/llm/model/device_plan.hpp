// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/model/memory_plan.hpp>

namespace kedge::llm {

/// What a run on a GPU chose, or leaves to the plan.
struct gpu_choices {
  std::optional<bool> layers_again{};  ///< gradient checkpointing; none: where less than 1024 tokens would fit without
  bool graphs = false;                 ///< passes are recorded: they keep their memory, and others have as much again
  bool fused_optimizer = true;         ///< a step of the optimizer is one pass over memory, without temporaries
};

/// How a process divides the memory of a GPU. Planned are nine tenths of what is free before it loads anything; the rest is left to the
/// allocator and to libraries. All in bytes but `head_rows` and `tokens`.
struct gpu_plan {
  std::int64_t states = 0;       ///< memory_plan::states
  std::int64_t temporaries = 0;  ///< of the optimizer's step, while there are no activations
  std::int64_t head_rows = 0;  ///< rows of the LM head computed at a time: as a quarter of what states leave holds, 128 to 4096
  std::int64_t head =
      0;  ///< of such rows: 8 and a number of the computation for each logit; and of the head's gradient before it is added
  std::int64_t kept_logits = 0;  ///< head probabilities that are kept for the backward pass: an eighth of what states leave
  bool layers_again = false;     ///< layers are computed again on the way back
  std::int64_t kept = 0;         ///< of a token, by the layers of a model, until the backward pass
  std::int64_t working = 0;      ///< of a token, while a layer is computed: twice what it would keep in fp32
  std::int64_t activations = 0;  ///< what the layers of a model may keep: a batch that needs more has them computed again
  std::int64_t tokens =
      0;  ///< computed at once: as many as fit, at least 512; a multiple of 128 and of an eighth of the power of two below
  bool fits = false;  ///< there is room for the states, and beside them for the step of the optimizer and for 512 tokens
};

/// The plan of a training run.
/// free: bytes, before anything is loaded
[[nodiscard]] gpu_plan plan_gpu(transformer_config const& config, plan_settings const& run, std::int64_t free,
                                gpu_choices const& choices = {});

/// The same where nothing is trained: states are the weights, in numbers of `word` bytes; layers keep nothing.
[[nodiscard]] gpu_plan plan_gpu_scoring(transformer_config const& config, std::int64_t word, std::int64_t free);

/// Whether recorded passes pay: below half a billion parameters a GPU waits for the host that launches its kernels.
[[nodiscard]] bool graphs_pay(transformer_config const& config);

/// Rows of the LM head computed at a time on a processor: 64 MiB of fp32 logits. A chunk walks through the head's gradient, so that few are
/// better than many, and logits should stay near the cores.
[[nodiscard]] std::int64_t head_rows_on_processor(transformer_config const& config);

/// Bytes that are free on a GPU sold with so many GB: 2^30 each, less a fiftieth that the driver takes.
[[nodiscard]] std::int64_t free_bytes(double gigabytes);

/// For each GPU of so many GB, and full fine-tuning as well as LoRA of rank 16 on all linear maps, a member "GPU of 80 GB, full" with what
/// `kedge inspect` tells: bytes of the states, whether it fits, tokens at once, head_rows, gradient checkpointing and graphs. bfloat16.
[[nodiscard]] nlohmann::ordered_json describe_gpus(transformer_config const& config, described_run const& run,
                                                   std::vector<double> const& gigabytes);

}  // namespace kedge::llm
