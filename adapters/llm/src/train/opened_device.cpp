// SPDX-License-Identifier: Apache-2.0
#include "opened_device.hpp"

#include <ATen/Context.h>

#include <optional>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

std::optional<at::Device> parsed(std::string const& name) try {
  return at::Device(name);
} catch (std::exception const&) {
  return std::nullopt;
}

}  // namespace

at::Device opened_device(std::string const& name) {
  std::optional<at::Device> const device = parsed(name);
  if (!device || (!device->is_cpu() && !device->is_cuda())) throw error("--device " + name + " is not a device; use cpu, cuda or cuda:N");
  if (device->is_cuda() && !at::hasCUDA())
    throw error("--device " + name + ": this build of LibTorch has no CUDA, or there is no GPU; use --device cpu");
  return *device;
}

}  // namespace kedge::llm
