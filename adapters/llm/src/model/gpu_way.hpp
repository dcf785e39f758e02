// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a model finds the kernels of a GPU.

#include <kedge/adapters/torch.hpp>

#include "../kernels/cuda/gpu_kernels.hpp"

namespace kedge::llm {

/// The kernels for tensors of a device; null: there are none, and plain tensor operations do the same.
[[nodiscard]] gpu_kernel_table const* gpu_kernels(at::Device device);

/// The stream that LibTorch's operations of a device are put in; null on the host.
[[nodiscard]] gpu_stream current_stream(at::Device device);

/// What a GPU's library offers, once it is loaded.
struct loaded_gpu_kernels {
  gpu_kernel_table const* table;
  gpu_stream (*current_stream)(int device);
};
void use_gpu_kernels(loaded_gpu_kernels const& loaded);

/// As long as it lives, tensors of the host go a GPU's way, by host_gpu_kernels or by plain tensor operations: for tests and for counting what is
/// launched. One at a time.
class gpu_way_on_host {
 public:
  enum class by { kernels, plain_operations };
  explicit gpu_way_on_host(by what = by::kernels);
  ~gpu_way_on_host();
  gpu_way_on_host(gpu_way_on_host const&) = delete;
  gpu_way_on_host& operator=(gpu_way_on_host const&) = delete;
};

/// A tensor of fp32 or bf16 as a kernel sees it, by rows of its first dimension, in which numbers lie side by side; of one dimension: one row; undefined: null.
[[nodiscard]] gpu_matrix matrix_of(at::Tensor const& x);

/// Whether tensors of a device go a GPU's way: there, or here while that is tried.
[[nodiscard]] bool goes_gpu_way(at::Device device);

}  // namespace kedge::llm
