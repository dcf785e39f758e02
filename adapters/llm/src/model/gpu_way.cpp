// SPDX-License-Identifier: Apache-2.0
#include "gpu_way.hpp"

#include <atomic>

namespace kedge::llm {
namespace {

std::atomic<loaded_gpu_kernels const*> of_gpus = nullptr;
std::atomic<gpu_kernel_table const*> of_host = nullptr;
std::atomic<bool> tried_on_host = false;

}  // namespace

gpu_kernel_table const* gpu_kernels(at::Device device) {
  if (device.is_cpu()) return of_host;
  loaded_gpu_kernels const* const loaded = of_gpus;
  return device.is_cuda() && loaded ? loaded->table : nullptr;
}

gpu_stream current_stream(at::Device device) {
  loaded_gpu_kernels const* const loaded = of_gpus;
  return device.is_cuda() && loaded ? loaded->current_stream(device.index()) : nullptr;
}

void use_gpu_kernels(loaded_gpu_kernels const& loaded) {
  static loaded_gpu_kernels kept;
  kept = loaded;
  of_gpus = &kept;
}

gpu_way_on_host::gpu_way_on_host(by what) {
  of_host = what == by::kernels ? &host_gpu_kernels() : nullptr;
  tried_on_host = true;
}

gpu_way_on_host::~gpu_way_on_host() {
  of_host = nullptr;
  tried_on_host = false;
}

bool goes_gpu_way(at::Device device) { return device.is_cuda() || (device.is_cpu() && tried_on_host); }

gpu_matrix matrix_of(at::Tensor const& x) {
  if (!x.defined()) return {};
  return {x.mutable_data_ptr(), x.scalar_type() == at::kBFloat16 ? gpu_number::bf16 : gpu_number::fp32, x.dim() > 1 ? x.stride(0) : x.numel()};
}

}  // namespace kedge::llm
