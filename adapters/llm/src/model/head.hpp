// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include <kedge/llm/model/causal_lm.hpp>

#include "linear_map.hpp"

namespace kedge::llm {

/// The LM head at completion positions only, a few rows at a time: log-probability of each row's target.
/// p − onehot(target) of as many rows as the budget allows is kept for the backward pass, the rest is computed again.
/// With smoothed labels a row's slope is that of (1 − ε) log p(target) + ε mean_v log p(v): in place of onehot(target) stands
/// (1 − ε) onehot(target) + ε/V.
class completion_head {
 public:
  completion_head() = default;
  /// hidden: [R, H], targets: [R]; logits are capped (0: not), and divided by the temperature; smoothing: ε
  completion_head(at::Tensor hidden, at::Tensor targets, double temperature, double soft_cap, double smoothing = 0);

  struct output {
    at::Tensor logp{};  ///< [R], undefined without rows
    at::Tensor entropy{}, log_squares{}, log_sum{}, mean_logit{}, likeliest{};  ///< [R] figures of the whole distribution, where asked for
  };
  /// map: [V, H]
  [[nodiscard]] output forward(linear_map const& map, std::int64_t rows, std::int64_t budget_bytes, row_figures const& wanted = {});

  /// Gradient with respect to hidden; adds the map's, unless its gradients are undefined.   cotangent: [R] in fp64
  [[nodiscard]] at::Tensor backward(at::Tensor const& cotangent, linear_map const& map, linear_map& gradient);

 private:
  struct chunk {
    std::int64_t begin, size;
    at::Tensor residual;  ///< p − onehot(target), in the type of products; empty: compute again
  };
  at::Tensor& residual_(chunk const& part, at::Tensor& p) const;
  [[nodiscard]] at::ScalarType residual_type(linear_map const& map) const;
  /// The forward pass of a chunk whose scores a GPU's kernel takes.
  void forward_by_kernel(chunk& part, at::Tensor const& scores, bool keeps, output const& out) const;
  [[nodiscard]] at::Tensor logits(chunk const& part, linear_map const& map) const;

  at::Tensor hidden_, targets_;
  double temperature_ = 1, soft_cap_ = 0, smoothing_ = 0;
  at::Tensor log_sums_;  // [R, 1]
  bool by_kernel_ = false;  // a GPU's, in both passes
  std::vector<chunk> chunks_;
};

/// One number a row: hidden · weight.   hidden: [R, H], weight: [1, H]
class scalar_head {
 public:
  scalar_head() = default;
  explicit scalar_head(at::Tensor hidden) : hidden_(std::move(hidden)) {}
  [[nodiscard]] at::Tensor forward(at::Tensor const& weight) const;
  /// Gradient with respect to hidden; adds the weight's.   cotangent: [R] in fp64
  [[nodiscard]] at::Tensor backward(at::Tensor const& cotangent, at::Tensor const& weight, at::Tensor& weight_gradient) const;

 private:
  at::Tensor hidden_;
};

}  // namespace kedge::llm
