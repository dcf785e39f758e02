// SPDX-License-Identifier: Apache-2.0
#include <cerrno>   // errno
#include <cstdint>  // uintptr_t
#include <cstring>  // strerror
#include <utility>  // exchange, move

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {
namespace {

[[noreturn]] void fail(std::filesystem::path const& path, std::string const& why) {
  throw error("cannot read " + in_quotes(path.string()) + ": " + why);
}

}  // namespace

mapped_file::mapped_file(std::filesystem::path path) : path_(std::move(path)) {
  int const descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path_, std::strerror(errno));
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail(path_, "it is not a regular file");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ > 0) {
    void* const address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      int const reason = errno;
      ::close(descriptor);
      fail(path_, std::strerror(reason));
    }
    data_ = static_cast<std::byte const*>(address);
  }
  ::close(descriptor);
  if (text().starts_with("version https://git-lfs.github.com/spec/")) {
    ::munmap(const_cast<std::byte*>(data_), size_);
    throw error(in_quotes(path_.string()) + " is only a pointer of Git LFS to the file; fetch the file itself (git lfs pull)");
  }
}

mapped_file::mapped_file(mapped_file&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

mapped_file& mapped_file::operator=(mapped_file&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

mapped_file::~mapped_file() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void mapped_file::release(std::span<std::byte const> part) noexcept {
  auto const page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto const begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;  // whole pages only
  auto const end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void mapped_file::prefetch(std::span<std::byte const> part) noexcept {
  auto const page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto const begin = reinterpret_cast<std::uintptr_t>(part.data()) / page * page;
  auto const end = reinterpret_cast<std::uintptr_t>(part.data() + part.size());
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_WILLNEED);
}

}  // namespace kedge::llm
