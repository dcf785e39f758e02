// SPDX-License-Identifier: Apache-2.0
#include "opened_device.hpp"

#include <optional>

#include <kedge/llm/base/error.hpp>

#include "../model/gpu_library.hpp"

namespace kedge::llm {
namespace {

std::optional<at::Device> parsed(std::string const& name) try {
  return at::Device(name);
} catch (std::exception const&) {
  return std::nullopt;
}

}  // namespace

at::Device named_device(std::string const& name) {
  std::optional<at::Device> const device = parsed(name);
  if (!device || (!device->is_cpu() && !device->is_cuda())) throw error("--device " + name + " is not a device; use cpu, cuda or cuda:N");
  return *device;
}

at::Device opened_device(std::string const& name) {
  at::Device const device = named_device(name);
  try {
    if (device.is_cuda()) open_gpu(device.index());
  } catch (error const& e) {
    throw error("--device " + name + ": " + e.what());
  }
  return device;
}

}  // namespace kedge::llm
