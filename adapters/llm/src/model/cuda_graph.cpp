// SPDX-License-Identifier: Apache-2.0
#include "cuda_graph.hpp"

#include "gpu_library.hpp"

namespace kedge::llm {

device_graph::device_graph(at::Device device, graph_pool pool) : device_(device), pool_(pool) {}
device_graph::device_graph(device_graph&&) noexcept = default;
device_graph::~device_graph() = default;

graph_pool new_graph_pool(at::Device device) {
  if (!device.is_cuda()) return {};
  return gpu_library().new_graph_pool();
}

void device_graph::run(std::function<void()> const& work) {
  if (!device_.is_cuda()) return work();
  if (!recorded_) recorded_ = gpu_library().record(device_, pool_, work);
  recorded_->replay();
}

}  // namespace kedge::llm
