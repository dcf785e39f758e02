// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plugin.hpp"

// The parts of the library, each in a source of its own: see gpu_plugin.

namespace kedge::llm {

[[nodiscard]] gpu_kernel_table const* cuda_kernels();
[[nodiscard]] graph_pool new_cuda_graph_pool();
[[nodiscard]] std::unique_ptr<recorded_work> record_cuda_graph(at::Device device, graph_pool const& pool, std::function<void()> const& work);
[[nodiscard]] c10::intrusive_ptr<c10d::Backend> nccl_group(c10::intrusive_ptr<c10d::Store> const& store, int rank, int size,
                                                           std::chrono::milliseconds timeout, at::Device device);

}  // namespace kedge::llm
