// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace kedge::llm {

/// Bytes that a process may still take on a device: of the host what the system has left and its control group allows, on a
/// graphics processor the free memory. Without anything known: the largest number.
[[nodiscard]] std::int64_t available_memory(at::Device device);

}  // namespace kedge::llm
