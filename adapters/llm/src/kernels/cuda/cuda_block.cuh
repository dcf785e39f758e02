// SPDX-License-Identifier: Apache-2.0
#pragma once

// A block of threads of CUDA, and how a body is launched there.

#include "block.hpp"

namespace kedge::llm::gpu {

class cuda_block {
 public:
  __device__ std::int64_t index() const { return blockIdx.x; }
  __device__ std::int64_t blocks() const { return gridDim.x; }
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ void sync() { __syncthreads(); }
  template <class T>
  __device__ T* shared() {
    extern __shared__ uint4 of_the_block[];
    return reinterpret_cast<T*>(of_the_block);
  }

  /// Within a warp in a tree, then the warps' results in turn. Whole warps only.
  template <class T, class F>
  __device__ T reduced(T x, F const& f) {
    for (int lane = warp / 2; lane > 0; lane /= 2) x = f(x, of_lane(x, lane));
    if (threads() == warp) return x;
    // Of two places in turn: nobody writes what another still reads.
    __shared__ __align__(16) unsigned char places[2][most_warps * sizeof(T)];
    turn_ = 1 - turn_;
    T* const at = reinterpret_cast<T*>(places[turn_]);
    if (thread() % warp == 0) at[thread() / warp] = x;
    sync();
    x = at[0];
    for (int i = 1; i < threads() / warp; ++i) x = f(x, at[i]);
    return x;
  }

 private:
  static constexpr int warp = 32, most_warps = 32;

  // The other lane's x, word by word.
  template <class T>
  __device__ static T of_lane(T const& x, int distance) {
    struct words {
      unsigned word[sizeof(T) / sizeof(unsigned)];
    };
    static_assert(sizeof(words) == sizeof(T));
    words all = std::bit_cast<words>(x);
    KEDGE_UNROLL
    for (unsigned& word : all.word) word = __shfl_xor_sync(0xffffffffU, word, distance);
    return std::bit_cast<T>(all);
  }

  int turn_ = 0;
};

/// Of a multiprocessor, as a body says that needs its registers more than company; 0: as ptxas thinks best.
template <class Body>
constexpr int least_blocks() {
  if constexpr (requires { Body::least_blocks; })
    return Body::least_blocks;
  else
    return 0;
}

template <class Body>
__global__ void __launch_bounds__(Body::most_threads, least_blocks<Body>()) kedge_kernel(__grid_constant__ typename Body::arguments const arguments) {
  cuda_block block;
  Body::run(block, arguments);
}

struct cuda_device {
  /// An error of a launch is found by LibTorch at its next one.
  template <class Body>
  static void launch(gpu_stream stream, typename Body::arguments const& arguments) {
    gpu_grid const grid = Body::grid(arguments);
    if (grid.blocks > 0)
      kedge_kernel<Body><<<static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.threads), grid.shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments);
  }
};

}  // namespace kedge::llm::gpu
