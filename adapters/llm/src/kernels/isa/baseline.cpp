// SPDX-License-Identifier: Apache-2.0

// What every processor of the architecture has: vectors of 4, by the compiler's own vector types alone.

#define KEDGE_ISA baseline
#define KEDGE_LANES 4

#include "../plain_operations.hpp"

namespace kedge::llm::baseline {

constexpr char const* name = "baseline";
constexpr std::size_t tile_sums = 12;
constexpr std::size_t tile_vectors = 2;
constexpr std::size_t tile_depth = 384;
constexpr std::size_t near_numbers = 192 * 384;
constexpr std::size_t near_scores = 64 * 1024;

}  // namespace kedge::llm::baseline

#include "../all.hpp"
