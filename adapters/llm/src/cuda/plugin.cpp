// SPDX-License-Identifier: Apache-2.0
#include "plugin.hpp"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "parts.hpp"
#include "plugin_build.hpp"

namespace {

kedge::llm::gpu_stream current_stream(int device) {
  auto const index = static_cast<c10::DeviceIndex>(device);
  c10::cuda::CUDAStream const stream = c10::cuda::getCurrentCUDAStream(index);
  if (c10::cuda::current_device() != stream.device_index()) c10::cuda::set_device(stream.device_index());
  return stream.stream();
}

}  // namespace

extern "C" __attribute__((visibility("default"), used)) char const kedge_cuda_build[] =
    KEDGE_GPU_BUILD_BEGIN KEDGE_GPU_BUILD KEDGE_GPU_BUILD_END "CUDA " KEDGE_GPU_CUDA KEDGE_GPU_BUILD_END;

extern "C" __attribute__((visibility("default"))) kedge::llm::gpu_plugin const* kedge_cuda() {
  static kedge::llm::gpu_plugin const plugin{.kernels = {kedge::llm::cuda_kernels(), current_stream},
                                             .new_graph_pool = kedge::llm::new_cuda_graph_pool,
                                             .record = kedge::llm::record_cuda_graph,
                                             .nccl = kedge::llm::nccl_group};
  return &plugin;
}
