// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <kedge/adapters/torch.hpp>

namespace kedge::llm {

/// A tensor of the host on the device of the computation. To a GPU it goes from pinned memory, so that the host needn't wait.
inline at::Tensor on_device(at::Tensor const& host, at::Device device) {
  return device.is_cuda() ? host.pin_memory().to(device, /*non_blocking=*/true) : host.to(device);
}

}  // namespace kedge::llm
