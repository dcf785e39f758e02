// SPDX-License-Identifier: Apache-2.0

// Compiled by nvcc for every kind of GPU that adapters/llm/cuda_kernels.cmake lists.

#include "cuda_block.cuh"
#include "table.hpp"

/// The table whose functions put kernels in line on a GPU's stream.
extern "C" kedge::llm::gpu_kernel_table const* kedge_cuda_kernels() { return &kedge::llm::gpu::table_of<kedge::llm::gpu::cuda_device>; }
