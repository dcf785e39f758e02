// SPDX-License-Identifier: Apache-2.0
#include "cuda_graph.hpp"

#include <string>

#include <kedge/llm/base/error.hpp>

#if defined(KEDGE_CUDA)
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace kedge::llm {

device_graph::device_graph(at::Device device, graph_pool pool) : device_(device), pool_(pool) {}
device_graph::device_graph(device_graph&&) noexcept = default;
device_graph::~device_graph() = default;

#if defined(KEDGE_CUDA)
struct device_graph::recording {
  at::cuda::CUDAGraph graph;

  // Recording wants a stream that is not the usual one. It runs nothing, so that the two needn't wait for each other. All recordings share one
  // stream, because libraries keep a workspace for each. Other threads, those of NCCL, may call CUDA meanwhile. The guards are LibTorch's general
  // ones: CUDA's own would need its run-time library at the link.
  recording(at::Device device, graph_pool const& pool, std::function<void()> const& work) {
    c10::DeviceGuard const on_device(device);
    static c10::cuda::CUDAStream const stream = c10::cuda::getStreamFromPool();
    c10::cuda::CUDACachingAllocator::emptyCache();
    c10::StreamGuard const on_stream(stream.unwrap());
    graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (std::exception const& e) {
      give_up();
      throw error(std::string("a pass could not be recorded as a CUDA graph (") + e.what() + "); --cuda_graphs off does without");
    }
    graph.capture_end();
  }

 private:
  void give_up() try {
    graph.capture_end();
  } catch (std::exception const&) {  // the first error is the one to tell
  }
};

bool has_cuda_graphs() { return true; }

graph_pool new_graph_pool(at::Device device) {
  if (!device.is_cuda()) return {};
  return at::cuda::graph_pool_handle();
}

void device_graph::run(std::function<void()> const& work) {
  if (!device_.is_cuda()) return work();
  if (!recorded_) recorded_ = std::make_unique<recording>(device_, pool_, work);
  recorded_->graph.replay();
}
#else
struct device_graph::recording {};

bool has_cuda_graphs() { return false; }

graph_pool new_graph_pool(at::Device) { return {}; }

void device_graph::run(std::function<void()> const& work) { work(); }
#endif

}  // namespace kedge::llm
