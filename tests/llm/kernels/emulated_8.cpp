// SPDX-License-Identifier: Apache-2.0

// Vectors of 8 without an instruction of any processor named: the shapes of AVX2, for processors that don't have it.

#define KEDGE_ISA emulated_8
#define KEDGE_LANES 8

#include "../adapters/llm/src/kernels/plain_operations.hpp"

namespace kedge::llm::emulated_8 {

constexpr char const* name = "emulated_8";
constexpr std::size_t tile_sums = 12;
constexpr std::size_t tile_vectors = 3;
constexpr std::size_t tile_depth = 384;
constexpr std::size_t near_numbers = 192 * 384;
constexpr std::size_t near_scores = 64 * 1024;

}  // namespace kedge::llm::emulated_8

#include "../adapters/llm/src/kernels/all.hpp"
