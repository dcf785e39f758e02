// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a kernel of the device is held to the host's: the same numbers go to both, and every tensor is compared afterwards.

#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "../../adapters/llm/src/model/gpu_way.hpp"
#include "check.hpp"

namespace kedge::gpu_check {

using tensors = std::vector<at::Tensor>;

/// A kernel on numbers.
struct kernel_case {
  std::string kernel, size;
  tensors given;     ///< on the host; what the kernel reads and writes
  double bytes = 0;  ///< read and written at the least
  /// Launches it on such tensors, which lie where the table's functions work.
  std::function<void(llm::gpu_kernel_table const&, llm::gpu_stream, tensors&)> launch;
  double allowed = 2e-5;    ///< of the largest number of a tensor of fp32; of bf16 a rounding to the other side is allowed too
  double differing = 2e-3;  ///< share of integers that may differ: codes and tokens, where a number lies between two
};

/// Sizes of a case: odd ones, and those of models.
enum class case_sizes { odd, real };

std::vector<kernel_case> training_cases(case_sizes sizes);
std::vector<kernel_case> optimizer_cases(case_sizes sizes);
std::vector<kernel_case> generation_cases(case_sizes sizes);

at::Tensor random_numbers(std::vector<std::int64_t> const& shape, at::ScalarType type = at::kFloat);
/// Structures as a tensor of bytes, which can be copied to a device.
template <class T>
at::Tensor bytes(std::span<T const> all) {
  at::Tensor const t = at::empty({static_cast<std::int64_t>(all.size_bytes())}, at::kByte);
  if (!all.empty()) std::memcpy(t.data_ptr(), all.data(), all.size_bytes());
  return t;
}
/// Bytes of tensors together.
double bytes_of(std::initializer_list<at::Tensor> all);

}  // namespace kedge::gpu_check
