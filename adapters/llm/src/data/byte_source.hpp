// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <filesystem>   // path
#include <memory>       // unique_ptr
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view

namespace kedge::llm {

/// Whether a file that begins like this is packed in a way that byte_source unpacks.
bool is_packed(std::string_view start);

/// Whether a line has nothing but white space.
bool is_blank(std::string_view line);

/// The bytes of a file, a pipe or standard input ("-"), in order and unpacked: gzip and zstd are known by their first bytes,
/// wherever they come from. Those of a Parquet file are its rows, a JSON object a line.
/// cost    a buffer of 64 KiB and what the unpacker needs (gzip 44 KiB, zstd the frame's window, at most 128 MiB)
class byte_source {
 public:
  /// throws  kedge::llm::error if the file cannot be read; or is of Parquet, and what reads that is not there
  explicit byte_source(std::filesystem::path const& path);
  byte_source(byte_source const&) = delete;
  byte_source& operator=(byte_source const&) = delete;
  ~byte_source();

  /// Writes the next bytes to the start of `out`. returns how many; 0 at the end
  /// throws  kedge::llm::error if reading fails, or what is packed is damaged or cut off
  std::size_t read(std::span<char> out);

  /// For messages: the path in quotes, or "standard input".
  std::string const& name() const noexcept { return name_; }

  struct unpacker;  ///< one for each way of packing, none among them

 private:
  std::string name_;
  std::unique_ptr<unpacker> unpacker_;
};

/// The lines of a byte_source, whatever their length.
/// cost    memory for the longest line, which may have 1 GiB: a packed file of some MB can hold one as long as a disk
class line_source {
 public:
  explicit line_source(std::filesystem::path const& path) : bytes_(path) {}

  /// The next line without its line feed, valid until the next call. returns false at the end
  bool next(std::string_view& line);

  std::string const& name() const noexcept { return bytes_.name(); }

 private:
  byte_source bytes_;
  std::string buffer_;
  std::size_t begin_ = 0;  ///< of what next() has not given yet
  std::size_t lines_ = 0;
  bool at_end_ = false;
};

}  // namespace kedge::llm
