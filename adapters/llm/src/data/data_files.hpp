// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <filesystem>   // path
#include <memory>       // unique_ptr
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include "byte_source.hpp"

namespace kedge::llm {

/// The files that a name means: itself; or, with * in its last part and no file of that very name, all that fit it, sorted by name.
/// throws  kedge::llm::error if none fits
std::vector<std::filesystem::path> files_of(std::filesystem::path const& path);

/// The lines of a data set, of one file after the other.
class data_files {
 public:
  /// throws  kedge::llm::error if the first file cannot be read
  explicit data_files(std::filesystem::path const& path);

  /// The next line without its line feed and a byte order mark, valid until the next call. returns false at the end
  bool next(std::string_view& line);

  /// Of the line that next() gave: its file, in quotes, and its number there, blank lines included.
  std::string const& name() const noexcept { return lines_->name(); }
  std::size_t number() const noexcept { return number_; }

 private:
  std::vector<std::filesystem::path> files_;
  std::size_t opened_ = 1, number_ = 0;
  std::unique_ptr<line_source> lines_;
};

}  // namespace kedge::llm
