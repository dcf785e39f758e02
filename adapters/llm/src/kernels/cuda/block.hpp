// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the bodies of a GPU's kernels are written with. A body is
//
//   struct NAME {
//     using arguments = gpu_NAME;
//     static constexpr int most_threads = …;  and, where registers matter more than many blocks at a time, least_blocks
//     static gpu_grid grid(arguments const&);
//     template <class Block> KEDGE_GPU static void run(Block& block, arguments const&);
//   };
//
// and `run` is called by all threads of each block. A Block offers
//
//   index(), blocks()      which block this is, of how many
//   thread(), threads()    which thread of the block this is, of how many: a body's result may not need any number of them
//   sync()                 waits for the block's other threads; what they wrote is seen
//   reduced(x, f)          f over all threads' x, the same for all of them; f is commutative. The order is fixed: the same bits every time
//   shared<T>()            grid().shared_bytes that the block's threads share

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "gpu_kernels.hpp"

#if defined(__CUDACC__)
#define KEDGE_GPU __host__ __device__
#else
#define KEDGE_GPU
#endif
#if defined(__CUDA_ARCH__)
#define KEDGE_UNROLL _Pragma("unroll")
#else
#define KEDGE_UNROLL
#endif

namespace kedge::llm::gpu {

/// How a body is launched. No blocks: it isn't.
struct gpu_grid {
  std::int64_t blocks;
  int threads;
  std::size_t shared_bytes = 0;
};

[[nodiscard]] constexpr std::int64_t pieces(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

/// Threads for a row of n numbers, of which one takes `each`: whole warps.
[[nodiscard]] constexpr int threads_for(std::int64_t n, std::int64_t each, int most) {
  constexpr std::int64_t warp = 32;
  std::int64_t const threads = pieces(pieces(n, each), warp) * warp;
  return static_cast<int>(threads < warp ? warp : threads < most ? threads : most);
}

/// f(i) for 0 … n − 1, in turn among the block's threads.
template <class Block, class F>
KEDGE_GPU void each(Block const& block, std::int64_t n, F const& f) {
  for (std::int64_t i = block.thread(); i < n; i += block.threads()) f(i);
}

/// f(i, k) for i = 0, N, 2N, … below n, in turn among the threads; k counts a thread's own up to `kept`, which stands for all further ones. What
/// a body keeps of the first ones in an array of `kept` stays in registers.
template <int N, int kept, class Block, class F>
KEDGE_GPU void each_vector(Block const& block, std::int64_t n, F const& f) {
  std::int64_t i = std::int64_t{block.thread()} * N;
  std::int64_t const step = std::int64_t{block.threads()} * N;
  KEDGE_UNROLL
  for (int k = 0; k < kept; ++k, i += step)
    if (i < n) f(i, k);
  for (; i < n; i += step) f(i, kept);
}

template <class Block, class T>
KEDGE_GPU T sum(Block& block, T x) {
  return block.reduced(x, [](T a, T b) { return a + b; });
}

}  // namespace kedge::llm::gpu
