// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/adapters/torch.hpp>

namespace kedge::llm::ops {

/// Figures of distributions whose scores were given, one a row.   [R, 1] each
struct distribution {
  at::Tensor log_sum{};    ///< log Σ exp of the scores
  at::Tensor entropy{};    ///< of the probabilities, nats
  at::Tensor mean{};       ///< of the scores
  at::Tensor likeliest{};  ///< 1 where the target's score is the largest, and the first of its size; else 0
};

}  // namespace kedge::llm::ops
