// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tensors that one operation may take for one: they lie side by side in memory, as views of it. Who allocates lays them so; who computes sees
// whether they do, and needn't know who allocated.

#include <cstddef>
#include <vector>

#include <kedge/llm/model/causal_lm.hpp>

namespace kedge::llm {

/// The tensors as one along a dimension, where they lie so: in one storage, with the same strides, each beginning where the one before it ends.
/// Undefined: they don't, or one of them is undefined.
[[nodiscard]] at::Tensor side_by_side(at::TensorList parts, std::int64_t dimension);

/// Which tensors of a pack are to lie side by side, in this order: weights of maps that read the same input (q, k and v; gate and up), and their
/// biases. Every tensor is in one group, most in one of their own; groups come in the order of their first tensors.
/// tensors: of the pack; those beyond the names, of another model that is trained beside, stand alone
[[nodiscard]] std::vector<std::vector<std::size_t>> kin_of(std::vector<parameter> const& names, std::size_t tensors = 0);

/// Elements that a tensor's place in shared memory is a multiple of: where vectors and tensor cores like to read.
inline constexpr std::int64_t place_elements = 16;
[[nodiscard]] constexpr std::int64_t rounded_to_place(std::int64_t elements) { return (elements + place_elements - 1) / place_elements * place_elements; }

/// Tensors become copies of another type, or on another device, each group's in one memory; where nothing changes they stay. One group after the
/// other, so that what nobody else holds is freed on the way.
void convert_side_by_side(pack& tensors, std::vector<std::vector<std::size_t>> const& groups, at::Device device, at::ScalarType type);

}  // namespace kedge::llm
