// SPDX-License-Identifier: Apache-2.0

// Stands for libkedge-cuda.so: of the build of this program, with functions that only tell that they were called.

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "../../../adapters/llm/src/cuda/plugin.hpp"
#include "../../../adapters/llm/src/cuda/plugin_build.hpp"

namespace {

using namespace kedge::llm;

struct counted final : recorded_work {
  explicit counted(std::function<void()> work) : work(std::move(work)) {}
  void replay() override { work(); }
  std::function<void()> work;
};

gpu_stream stream_of(int device) { return reinterpret_cast<gpu_stream>(static_cast<std::intptr_t>(device + 1)); }
graph_pool pool() { return {7, 8}; }
std::unique_ptr<recorded_work> record(at::Device, graph_pool const&, std::function<void()> const& work) { return std::make_unique<counted>(work); }
c10::intrusive_ptr<c10d::Backend> no_group(c10::intrusive_ptr<c10d::Store> const&, int, int, std::chrono::milliseconds, at::Device) { return {}; }

}  // namespace

extern "C" __attribute__((visibility("default"), used)) char const kedge_cuda_build[] =
    KEDGE_GPU_BUILD_BEGIN KEDGE_GPU_BUILD KEDGE_GPU_BUILD_END "CUDA 13.2" KEDGE_GPU_BUILD_END;

extern "C" __attribute__((visibility("default"))) gpu_plugin const* kedge_cuda() {
  static gpu_plugin const plugin{{nullptr, stream_of}, pool, record, no_group};
  return &plugin;
}
