// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <cstdint>      // uint64_t
#include <filesystem>   // path
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {

/// The lines of a file in a random order, blank ones left out: every order is as likely, and the seed alone decides.
/// For files larger than memory: the lines stay in the file, which is mapped and read line by line where they lie.
/// cost    8 bytes of memory a line, one pass over the file. What is no plain file (packed by gzip or zstd, a pipe, "-") is
///         unpacked into a nameless file in the folder of temporary files ($TMPDIR) first
class shuffled_lines {
 public:
  /// throws  kedge::llm::error if the file cannot be read, or there is no space to unpack it
  shuffled_lines(std::filesystem::path const& path, std::uint64_t seed);

  std::size_t size() const noexcept { return begins_.size(); }
  /// The i-th line of the order without its line end, i < size().
  std::string_view operator[](std::size_t i) const;

 private:
  mapped_file file_;
  std::vector<std::size_t> begins_;  ///< bytes from the start of the file, in the order
};

}  // namespace kedge::llm
