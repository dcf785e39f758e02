// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // byte, size_t
#include <filesystem>   // path
#include <span>         // span
#include <string_view>  // string_view

namespace kedge::llm {

/// A file being written under a temporary name beside its final one. commit() flushes it to disk and renames it, so that
/// the final name holds either what was there before or the whole new content; without commit() the file disappears.
/// A pipe or a device is written to as it is, and stays what it is.
/// throws  kedge::llm::error from every member, one line with the path and the system's reason (disk full, no permission)
class pending_file {
 public:
  explicit pending_file(std::filesystem::path final_path);
  pending_file(pending_file const&) = delete;
  pending_file& operator=(pending_file const&) = delete;
  ~pending_file();

  void write(std::span<std::byte const> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span{text.data(), text.size()})); }
  /// Writes at a place of the file's own, from several threads at once if they keep apart; what lies between is zeros.
  void write_at(std::size_t offset, std::span<std::byte const> bytes);
  /// Asks the disk to begin with a part already written, so that commit() waits for less. Only a hint.
  void begin_flush(std::size_t offset, std::size_t size) noexcept;
  void commit();
  /// Gives the file its name without flushing it: for a folder that is flushed as a whole, by pending_directory.
  void commit_unflushed();

 private:
  [[noreturn]] void fail(int reason);

  std::filesystem::path final_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// pending_file in one call.
void write_file_atomically(std::filesystem::path const& path, std::span<std::byte const> bytes);
void write_file_atomically(std::filesystem::path const& path, std::string_view text);

/// Copies a file through write_file_atomically.
void copy_file_atomically(std::filesystem::path const& from, std::filesystem::path const& to);

/// What to do about a folder that is there already.
enum class if_taken { refuse, replace };

/// A folder being filled under a temporary name beside its final one. commit() flushes everything in it to disk and
/// renames it; without commit() it disappears with all that was written. An empty folder at the final path counts as free.
/// throws  kedge::llm::error if the final path is taken (and not to be replaced), or cannot be written
class pending_directory {
 public:
  explicit pending_directory(std::filesystem::path final_path, if_taken taken = if_taken::refuse);
  pending_directory(pending_directory const&) = delete;
  pending_directory& operator=(pending_directory const&) = delete;
  ~pending_directory();

  /// Where to write until commit().
  std::filesystem::path const& path() const noexcept { return temporary_; }
  void commit();

 private:
  std::filesystem::path final_;
  std::filesystem::path temporary_;
  std::filesystem::path created_parent_;  ///< outermost parent folder that had to be made, removed again without commit()
  if_taken taken_;
};

/// throws  kedge::llm::error unless a file or folder can be created at the path: it is free, or an empty folder, and its
///         nearest existing parent is writable. For refusing a bad --output_dir before hours of work, not after
void check_output_folder(std::filesystem::path const& path, if_taken taken = if_taken::refuse);

}  // namespace kedge::llm
