// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <string>

#include <kedge/llm/base/error.hpp>

#include "parts.hpp"

namespace kedge::llm {
namespace {

class recording final : public recorded_work {
 public:
  // Recording wants a stream that is not the usual one. It runs nothing, so that the two needn't wait for each other. All recordings share one
  // stream, because libraries keep a workspace for each. Other threads, those of NCCL, may call CUDA meanwhile.
  recording(at::Device device, graph_pool const& pool, std::function<void()> const& work) {
    c10::cuda::CUDAGuard const on_device(device);
    static c10::cuda::CUDAStream const stream = c10::cuda::getStreamFromPool();
    c10::cuda::CUDACachingAllocator::emptyCache();
    c10::cuda::CUDAStreamGuard const on_stream(stream);
    graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (std::exception const& e) {
      give_up();
      throw error(std::string("a pass could not be recorded as a CUDA graph (") + e.what() + "); --cuda_graphs off does without");
    }
    graph_.capture_end();
  }

  void replay() override { graph_.replay(); }

 private:
  void give_up() try {
    graph_.capture_end();
  } catch (std::exception const&) {  // the first error is the one to tell
  }

  at::cuda::CUDAGraph graph_;
};

}  // namespace

graph_pool new_cuda_graph_pool() { return at::cuda::graph_pool_handle(); }

std::unique_ptr<recorded_work> record_cuda_graph(at::Device device, graph_pool const& pool, std::function<void()> const& work) {
  return std::make_unique<recording>(device, pool, work);
}

}  // namespace kedge::llm
