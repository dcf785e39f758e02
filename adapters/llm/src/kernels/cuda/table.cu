// SPDX-License-Identifier: Apache-2.0

// Compiled by nvcc for every kind of GPU that adapters/llm/cuda_kernels.cmake lists.

#include "cuda_block.cuh"
#include "table.hpp"

namespace kedge::llm {

/// The table whose functions put kernels in line on a GPU's stream.
gpu_kernel_table const* cuda_kernels() { return &gpu::table_of<gpu::cuda_device>; }

}  // namespace kedge::llm
