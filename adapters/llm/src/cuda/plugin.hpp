// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the library libkedge-cuda.so has. It is loaded when a GPU is asked for, so that one program serves processors and GPUs
// (docs/decisions/0014-one-program.md). C++ types pass, so program and library must be of one build: see plugin_build.hpp.

#include <chrono>
#include <functional>
#include <memory>

#include <c10/util/intrusive_ptr.h>

#include "../model/cuda_graph.hpp"
#include "../model/gpu_way.hpp"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace kedge::llm {

/// Work that was recorded once.
struct recorded_work {
  virtual ~recorded_work() = default;
  virtual void replay() = 0;
};

struct gpu_plugin {
  /// table: null in a library without kernels. current_stream makes the device the current one of this thread too, as a launch wants it.
  loaded_gpu_kernels kernels;
  graph_pool (*new_graph_pool)();
  /// See device_graph::run.
  std::unique_ptr<recorded_work> (*record)(at::Device device, graph_pool const& pool, std::function<void()> const& work);
  /// NCCL between the GPUs of a run, one a process.
  c10::intrusive_ptr<c10d::Backend> (*nccl)(c10::intrusive_ptr<c10d::Store> const& store, int rank, int size, std::chrono::milliseconds timeout,
                                            at::Device device);
};

}  // namespace kedge::llm

/// The one symbol that is looked up.
extern "C" kedge::llm::gpu_plugin const* kedge_cuda();
