// SPDX-License-Identifier: Apache-2.0

// Vectors of 16 without an instruction of any processor named: the shapes of AVX-512, for processors that don't have it.

#define KEDGE_ISA emulated_16
#define KEDGE_LANES 16

#include "../adapters/llm/src/kernels/plain_operations.hpp"

namespace kedge::llm::emulated_16 {

constexpr char const* name = "emulated_16";
constexpr std::size_t tile_sums = 24;
constexpr std::size_t tile_vectors = 3;
constexpr std::size_t tile_depth = 768;
constexpr std::size_t near_numbers = 512 * 768;
constexpr std::size_t near_scores = 128 * 1024;

}  // namespace kedge::llm::emulated_16

#include "../adapters/llm/src/kernels/all.hpp"
