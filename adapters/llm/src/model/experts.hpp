// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <kedge/llm/model/config.hpp>

#include "linear_map.hpp"
#include "ops.hpp"

namespace kedge::llm {

/// One expert's maps, or their gradients.
struct expert_maps {
  linear_map gate, up, down;  ///< [I, H], [I, H], [H, I]; where they are stacked, gate is both: [2 I, H], and up has nothing
};

/// The experts of a layer and what chooses among them.
struct expert_tensors {
  at::Tensor router, router_bias;  ///< [E, H], [E]
  std::vector<expert_maps> experts;
};

/// Which token went where: what the backward pass needs beside the numbers within the experts.
struct expert_routes {
  at::Tensor probabilities;         ///< [T, E], at least fp32
  at::Tensor chosen, weights;       ///< [T, k]: experts of each token, and what their output is multiplied by
  at::Tensor tokens, places;        ///< [T k]: rows in the order of experts: their token, and their place in `chosen`, flat
  std::vector<std::int64_t> begin;  ///< [E + 1]: where an expert's rows begin
};

/// Σ over the chosen experts e of w_e · down_e(act(gate_e h) ∘ up_e h). Each expert sees the rows that chose it in one product.
/// h: [T, H] -> [T, H], at least fp32.   gate, up: [T k, I], kept for the backward pass
at::Tensor experts_forward(transformer_config const& config, expert_tensors const& weights, at::Tensor const& h,
                           expert_routes& routes, at::Tensor& gate, at::Tensor& up);

/// The gradient of h from that of the output; adds those of the weights. The choice itself has none.
/// of_probabilities: [T, E], a gradient of the router's probabilities beside; undefined: zero
at::Tensor experts_backward(transformer_config const& config, expert_tensors const& weights, at::Tensor const& h,
                            expert_routes const& routes, at::Tensor const& gate, at::Tensor const& up, at::Tensor const& g,
                            at::Tensor const& of_probabilities, expert_tensors& gradient);

}  // namespace kedge::llm
