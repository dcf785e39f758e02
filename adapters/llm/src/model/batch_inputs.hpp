// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include <kedge/llm/data/fixed_size.hpp>
#include <kedge/llm/model/causal_lm.hpp>

#include "ops.hpp"

namespace kedge::llm {

/// A batch as passes read it: nothing else of it goes to the device, or to attention.
struct batch_inputs {
  at::Tensor tokens, positions;                ///< [T]
  at::Tensor rows, targets;                    ///< [R]
  at::Tensor row_starts{}, row_places{};       ///< where each token stands among the rows: inverse_lists. Undefined where no kernel reads them
  at::Tensor frequencies, local_frequencies;   ///< of rotations; the latter undefined where no layer has its own
  ops::attention_segments segments;
  at::Tensor copies{};                         ///< [T] fp64, sequences that a token stands in; undefined where no layer has experts

  /// What `other` holds, in the same memory from the first call on. Later batches must have the size of the first.
  void take(batch_inputs const& other);
};

/// `fixed`: the size that the batch was padded to, which lists of segments are padded to as well; null: no such size
[[nodiscard]] batch_inputs inputs_of(transformer_config const& config, compute_settings const& settings, ragged_batch const& batch,
                                     packed_size const* fixed = nullptr);

/// What passes give for each row, on the device.   [R]; undefined: no such head, or not asked for
struct row_tensors {
  at::Tensor logp, value, entropy, log_squares, log_sum, mean_logit, likeliest;
  at::Tensor chosen{}, probabilities{};  ///< [E], see expert_use
};

/// The first `rows` numbers of each on the host, in one transfer. Waits for the device.
[[nodiscard]] row_outputs on_host(row_tensors const& tensors, std::size_t rows);

/// Cotangents of rows.   [R] in fp64, zeros for rows that were added; undefined: zero
struct row_slopes {
  at::Tensor logp, value;
  at::Tensor routing;  ///< [E], of expert_use::probabilities

  row_slopes() = default;
  row_slopes(std::span<double const> of_logp, std::span<double const> of_value, batch_inputs const& batch, std::span<double const> of_routing = {});
};

}  // namespace kedge::llm
