// SPDX-License-Identifier: Apache-2.0
#include "available_memory.hpp"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace kedge::llm {
namespace {

constexpr std::int64_t unknown = std::numeric_limits<std::int64_t>::max();

std::int64_t left_on_host() {
  std::ifstream file("/proc/meminfo");
  for (std::string name; file >> name; file.ignore(256, '\n'))
    if (std::int64_t kilobytes = 0; name == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
  return unknown;
}

// A number in a file; "max", or no such file, is no limit.
std::int64_t number_in(char const* path) {
  std::int64_t number = 0;
  return std::ifstream(path) >> number ? number : unknown;
}

std::int64_t left_in_group() {
  std::int64_t const limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  return limit == unknown || used == unknown ? unknown : std::max<std::int64_t>(limit - used, 0);
}

}  // namespace

std::int64_t available_memory(at::Device device) {
  if (!device.is_cpu()) return static_cast<std::int64_t>(at::accelerator::getMemoryInfo(device.has_index() ? device.index() : at::DeviceIndex{0}).first);
  return std::min(left_on_host(), left_in_group());
}

}  // namespace kedge::llm
