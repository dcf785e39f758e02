// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // byte, size_t
#include <filesystem>   // path
#include <span>         // span
#include <string_view>  // string_view

namespace kedge::llm {

/// A file mapped read-only into memory. Movable; the bytes stay where they are when it moves.
/// throws  kedge::llm::error if the path is no readable regular file
class mapped_file {
 public:
  explicit mapped_file(std::filesystem::path path);
  mapped_file(mapped_file&& other) noexcept;
  mapped_file& operator=(mapped_file&& other) noexcept;
  mapped_file(mapped_file const&) = delete;
  mapped_file& operator=(mapped_file const&) = delete;
  ~mapped_file();

  std::span<std::byte const> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<char const*>(data_), size_}; }
  std::filesystem::path const& path() const noexcept { return path_; }

  /// Tells the system that this part of a map is not needed for now; its memory is given back, and reading the part again
  /// fetches it again. Safe while others read the same part.
  static void release(std::span<std::byte const> part) noexcept;
  /// Tells the system that this part will be read soon, so that it begins to fetch it.
  static void prefetch(std::span<std::byte const> part) noexcept;

 private:
  std::filesystem::path path_;
  std::byte const* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kedge::llm
