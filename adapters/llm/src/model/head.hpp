// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <kedge/adapters/torch.hpp>

namespace kedge::llm {

/// The LM head at completion positions only, a few rows at a time: log-probability of each target, summed by sequence.
/// Probabilities of as many rows as the budget allows are kept for the backward pass, the others are computed again.
class completion_head {
 public:
  completion_head() = default;
  /// hidden: [R, H], targets and sequence: [R]
  completion_head(at::Tensor hidden, at::Tensor targets, at::Tensor sequence, std::size_t sequences);

  /// logp of each sequence, summed in double.   weight: [V, H]
  [[nodiscard]] std::vector<double> forward(at::Tensor const& weight, std::int64_t rows, std::int64_t budget_bytes);

  /// Gradient with respect to hidden; adds the weight's.   cotangent: [sequences]
  [[nodiscard]] at::Tensor backward(std::span<double const> cotangent, at::Tensor const& weight, at::Tensor& weight_gradient);

 private:
  struct chunk {
    std::int64_t begin, size;
    at::Tensor probabilities;  ///< empty: compute again
  };
  [[nodiscard]] at::Tensor logits(chunk const& part, at::Tensor const& weight) const;

  at::Tensor hidden_, targets_, sequence_;
  std::size_t sequences_ = 0;
  at::Tensor log_sums_;  // [R, 1]
  std::vector<chunk> chunks_;
};

}  // namespace kedge::llm
