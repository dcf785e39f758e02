// SPDX-License-Identifier: Apache-2.0
#include "paged_state.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/train/training_log.hpp>

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
std::size_t in_pages(std::size_t bytes) { return (bytes + page_size() - 1) / page_size() * page_size(); }

[[noreturn]] void fail(fs::path const& folder, std::size_t bytes, std::string const& why) {
  throw error(in_quotes(folder.string()) + ": no place for the optimizer's state, " +
              short_number(static_cast<double>(bytes) / 1e9) + " GB: " + why + "; give another folder by --paged_dir");
}

// A new file that is open, and has no name any more.
int nameless_file(fs::path const& folder, std::size_t bytes) {
  std::string name = (folder / ".paged-state-XXXXXX").string();
  int const descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) fail(folder, bytes, std::strerror(errno));
  ::unlink(name.c_str());
  return descriptor;
}

std::byte* mapped(fs::path const& folder, std::size_t bytes) {
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  int const descriptor = nameless_file(folder, bytes);
  int const full =
      ::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));  // a disk that is full later would end the process
  void* const address = full == 0 ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) : MAP_FAILED;
  int const reason = full != 0 ? full : errno;
  ::close(descriptor);
  if (address == MAP_FAILED) fail(folder, bytes, std::strerror(reason));
  return static_cast<std::byte*>(address);
}

}  // namespace

bool lies_in_memory(fs::path folder) {
  std::error_code ignored;
  for (folder = fs::absolute(folder, ignored); !fs::exists(folder, ignored) && folder.has_relative_path();)
    folder = folder.parent_path();
  struct statfs about{};
  return ::statfs(folder.c_str(), &about) == 0 && (about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC);
}

paged_memory::paged_memory(fs::path const& folder, std::size_t bytes) : size_(bytes) {
  if (bytes > 0) data_ = mapped(folder, bytes);
}

paged_memory::~paged_memory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

at::Tensor paged_memory::place(at::IntArrayRef sizes, at::ScalarType type) {
  at::Tensor const like = at::empty(sizes, at::TensorOptions(at::kMeta).dtype(type));
  if (like.numel() == 0) return at::zeros(sizes, type);
  std::byte* const here = data_ + used_;
  used_ += bytes_of(like);
  return at::from_blob(here, sizes, [keeps = shared_from_this()](void*) {}, type);
}

void paged_memory::advise(at::Tensor const& t, int advice) const {
  auto const* const begin = static_cast<std::byte const*>(t.const_data_ptr());
  if (t.numel() > 0 && begin >= data_ && begin < data_ + size_) ::madvise(t.mutable_data_ptr(), in_pages(t.nbytes()), advice);
}

std::size_t paged_memory::bytes_of(at::Tensor const& like) {
  return in_pages(static_cast<std::size_t>(like.numel()) * static_cast<std::size_t>(like.element_size()));
}

optimizer_state paged_state(optimizer const& of, pack const& own, fs::path const& folder) {
  pack shapes;
  for (at::Tensor const& t : own) shapes.push_back(at::empty(t.sizes(), t.options().device(at::kMeta)));
  optimizer_state state = of.init(shapes);
  std::size_t bytes = 0;
  for (optimizer_part const& part : state.parts)
    for (at::Tensor const& t : part.values) bytes += paged_memory::bytes_of(t);
  auto const pages = std::make_shared<paged_memory>(folder, bytes);
  for (optimizer_part& part : state.parts)
    for (at::Tensor& t : part.values) t = pages->place(t.sizes(), t.scalar_type());
  state.pages = pages;
  return state;
}

// The bytes stay in the system's cache of the file for as long as nobody needs the room, and are written when it has to go.
void optimizer_state::leave(std::size_t i) const {
  if (!pages) return;
  for (optimizer_part const& part : parts)
    if (i < part.values.size()) pages->advise(part.values[i], MADV_DONTNEED);
}

void optimizer_state::leave() const {
  for (optimizer_part const& part : parts)
    for (at::Tensor const& t : part.values)
      if (pages) pages->advise(t, MADV_DONTNEED);
}

void optimizer_state::expect(std::size_t i) const {
  if (!pages) return;
  for (optimizer_part const& part : parts)
    if (i < part.values.size()) pages->advise(part.values[i], MADV_WILLNEED);
}

}  // namespace kedge::llm
