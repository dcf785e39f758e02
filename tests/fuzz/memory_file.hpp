// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace kedge::testing {

/// The bytes of an input as a regular file without a name on any disk.
class memory_file {
 public:
  memory_file(std::uint8_t const* data, std::size_t size) : descriptor_(::memfd_create("input", MFD_CLOEXEC)) {
    for (std::size_t written = 0; written < size;) {
      ssize_t const count = ::write(descriptor_, data + written, size - written);
      if (count <= 0) std::abort();
      written += static_cast<std::size_t>(count);
    }
  }
  memory_file(memory_file const&) = delete;
  memory_file& operator=(memory_file const&) = delete;
  ~memory_file() { ::close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace kedge::testing
