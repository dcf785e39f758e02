// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // min
#include <atomic>     // atomic
#include <cerrno>     // errno
#include <cstdio>     // rename
#include <cstring>    // strerror
#include <string>     // string
#include <utility>    // exchange, move

#include <fcntl.h>
#include <unistd.h>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {
namespace {

using std::filesystem::path;

[[noreturn]] void cannot(char const* what, path const& target, int reason) {
  std::string message = std::string{"cannot "} + what + " " + in_quotes(target.string()) + ": " + std::strerror(reason);
  if (reason == ENOSPC || reason == EDQUOT) message += "; free some space or choose another place";
  if (reason == EACCES || reason == EPERM || reason == EROFS) message += "; choose a place that you may write to";
  throw error(message);
}

/// ".NAME.part-PID-N" in the same folder: renaming stays within one file system.
path temporary_sibling(path const& final_path) {
  static std::atomic<unsigned> counter{0};
  std::string name = final_path.filename().string();
  name.insert(name.begin(), '.');
  name += ".part-" + std::to_string(::getpid()) + '-' + std::to_string(counter++);
  return final_path.parent_path() / name;
}

/// Absolute, without "." parts and without a trailing slash, so that it has a parent and a file name.
path settled(path const& given) {
  if (given.empty()) throw error("an empty path cannot be written to; pass the name of a file or folder");
  path out = std::filesystem::absolute(given).lexically_normal();
  if (!out.has_filename()) out = out.parent_path();
  if (!out.has_filename()) throw error("cannot write to " + in_quotes(given.string()) + "; pass the name of a file or folder");
  return out;
}

/// A pipe or a device, and a name of an open file (/dev/stdout): what is written there goes on, and nothing may take its place.
bool is_way_out(path const& target) {
  std::error_code ignored;
  auto const status = std::filesystem::status(target, ignored);
  if (std::filesystem::is_other(status)) return true;
  bool const is_link = std::filesystem::is_symlink(std::filesystem::symlink_status(target, ignored));
  path const folder = target.parent_path();
  return is_link && (folder == "/dev" || folder.string().starts_with("/dev/fd") || folder.string().starts_with("/proc/"));
}

/// Flushes a file's data, or a folder's list of names, to the disk.
void flush(path const& target) {
  int const descriptor = ::open(target.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) cannot("flush", target, errno);
  int const outcome = ::fsync(descriptor);
  int const reason = errno;
  ::close(descriptor);
  if (outcome != 0 && reason != EINVAL && reason != ENOTSUP) cannot("flush", target, reason);  // some file systems cannot
}

/// Asks the disk to begin with a file, so that many files are written together and not one after the other.
void begin_flush_of(path const& file) {
#if defined(__linux__)
  int const descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
  ::close(descriptor);
#endif
}

void flush_tree(path const& folder) {
  for (auto const& item : std::filesystem::recursive_directory_iterator(folder))
    if (item.is_regular_file()) begin_flush_of(item.path());
  for (auto const& item : std::filesystem::recursive_directory_iterator(folder))
    if (item.is_regular_file() || item.is_directory()) flush(item.path());
  flush(folder);
}

bool is_free(path const& target) {
  std::error_code ignored;
  auto const status = std::filesystem::symlink_status(target, ignored);
  if (!std::filesystem::exists(status)) return true;
  return std::filesystem::is_directory(status) && std::filesystem::is_empty(target, ignored);
}

void refuse_if_taken(path const& target, if_taken taken) {
  if (taken == if_taken::refuse && !is_free(target))
    throw error(in_quotes(target.string()) + " already exists and is not empty; choose another folder or remove it first");
}

/// Moves the old folder out of the way, the fresh one in, and removes the old one.
void replace_folder(path const& fresh, path const& old) {
  path const aside = temporary_sibling(old);
  if (::rename(old.c_str(), aside.c_str()) != 0) cannot("replace", old, errno);
  if (::rename(fresh.c_str(), old.c_str()) != 0) {
    int const reason = errno;
    ::rename(aside.c_str(), old.c_str());
    cannot("write", old, reason);
  }
  std::error_code ignored;
  std::filesystem::remove_all(aside, ignored);
}

/// The outermost folder that does not exist yet on the way to `folder`, "" if all do.
path first_missing(path folder) {
  path missing;
  std::error_code ignored;
  while (!folder.empty() && !std::filesystem::exists(folder, ignored)) {
    missing = folder;
    folder = folder.parent_path();
  }
  return missing;
}

}  // namespace

pending_file::pending_file(path final_path) : final_(settled(final_path)) {
  if (is_way_out(final_)) {
    descriptor_ = ::open(final_.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    temporary_ = temporary_sibling(final_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  if (descriptor_ < 0) cannot("write", final_, errno);
}

pending_file::~pending_file() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void pending_file::fail(int reason) { cannot("write", final_, reason); }

void pending_file::write(std::span<std::byte const> bytes) {
  constexpr std::size_t most = std::size_t{1} << 30U;  // one call writes at most about 2 GB on Linux
  while (!bytes.empty()) {
    ssize_t const written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), most));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void pending_file::write_at(std::size_t offset, std::span<std::byte const> bytes) {
  constexpr std::size_t most = std::size_t{1} << 30U;
  while (!bytes.empty()) {
    ssize_t const written = ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), most), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    offset += static_cast<std::size_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void pending_file::begin_flush([[maybe_unused]] std::size_t offset, [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__)
  ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE);
#endif
}

void pending_file::commit() {
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP) fail(errno);
  commit_unflushed();
  if (!temporary_.empty()) flush(final_.parent_path());
}

void pending_file::commit_unflushed() {
  if (!temporary_.empty() && ::rename(temporary_.c_str(), final_.c_str()) != 0) fail(errno);
  int const descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0 && errno != EINTR) fail(errno);
}

void write_file_atomically(path const& target, std::span<std::byte const> bytes) {
  pending_file file(target);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(path const& target, std::string_view text) {
  write_file_atomically(target, std::as_bytes(std::span{text.data(), text.size()}));
}

void copy_file_atomically(path const& from, path const& to) {
  mapped_file const source(from);
  write_file_atomically(to, source.bytes());
}

pending_directory::pending_directory(std::filesystem::path final_path, if_taken taken)
    : final_(settled(final_path)), temporary_(temporary_sibling(final_)), taken_(taken) {
  refuse_if_taken(final_, taken_);
  created_parent_ = first_missing(final_.parent_path());
  std::error_code reason;
  std::filesystem::create_directories(final_.parent_path(), reason);
  if (!reason) std::filesystem::create_directory(temporary_, reason);
  if (reason) cannot("create folder", final_, reason.value());
}

pending_directory::~pending_directory() {
  if (temporary_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(temporary_, ignored);
  if (created_parent_.empty()) return;
  // Only folders that this object made, and only while nothing else has come to live in them.
  for (std::filesystem::path folder = final_.parent_path();; folder = folder.parent_path()) {
    if (!std::filesystem::remove(folder, ignored) || ignored || folder == created_parent_) break;
  }
}

void pending_directory::commit() {
  flush_tree(temporary_);
  refuse_if_taken(final_, taken_);
  if (is_free(final_)) {
    if (::rename(temporary_.c_str(), final_.c_str()) != 0) cannot("write", final_, errno);
  } else {
    replace_folder(temporary_, final_);
  }
  temporary_.clear();
  flush(final_.parent_path());
}

void check_output_folder(path const& given, if_taken taken) {
  path const target = settled(given);
  refuse_if_taken(target, taken);
  path nearest = target.parent_path();
  std::error_code ignored;
  while (nearest.has_relative_path() && !std::filesystem::exists(nearest, ignored)) nearest = nearest.parent_path();
  if (!std::filesystem::is_directory(nearest, ignored)) cannot("create folder", target, ENOTDIR);
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) cannot("create folder", target, errno);
}

}  // namespace kedge::llm
