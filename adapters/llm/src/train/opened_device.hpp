// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace kedge::llm {

/// The device that --device names.
/// name: cpu, cuda or cuda:N
/// throws  error if it is no such name
[[nodiscard]] at::Device named_device(std::string const& name);

/// The same, ready for work.
/// throws  error "--device NAME: …" if there is no such device, or what it needs is missing
[[nodiscard]] at::Device opened_device(std::string const& name);

}  // namespace kedge::llm
