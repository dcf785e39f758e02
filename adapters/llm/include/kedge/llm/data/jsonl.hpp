// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <functional>  // function
#include <memory>      // unique_ptr
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

namespace kedge::llm {

class line_source;

/// Where a line stands, and the whole of its object.
struct json_line {
  nlohmann::ordered_json object;
  std::size_t number = 0;  ///< counts from 1, blank lines included
  std::string place;       ///< "'FILE':NUMBER", for messages
};

/// Reads one JSON object a line, in order, from a file, a pipe or standard input ("-"), plain or packed by gzip or zstd. Blank
/// lines, a byte order mark and CRLF line ends are passed over.
/// cost    memory for the longest line (at most 1 GiB), however long the file
class json_line_reader {
 public:
  using taker = std::function<void(json_line)>;

  /// throws  kedge::llm::error if the file cannot be read
  json_line_reader(std::filesystem::path const& path, bool skip_bad_lines);
  ~json_line_reader();

  /// Gives `take` the next line that will do. returns false at the end
  ///
  /// `take` may throw kedge::llm::error with the reason why a line won't do; the message gets the place in front. With
  /// `skip_bad_lines` such lines, and lines that are no JSON object, are counted and left out instead.
  /// throws  kedge::llm::error for a bad line, damaged packed data, and at the end of a file with no usable line at all
  bool next(taker const& take);

  std::size_t skipped() const noexcept { return skipped_; }
  std::vector<std::string> const& problems() const noexcept { return problems_; }  ///< of the first ten lines skipped

 private:
  std::unique_ptr<line_source> lines_;
  bool skip_bad_lines_;
  std::size_t number_ = 0, taken_ = 0, skipped_ = 0;
  std::vector<std::string> problems_;
};

/// All lines of a file by json_line_reader.
/// returns the number of lines left out
std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines, json_line_reader::taker const& take);

}  // namespace kedge::llm
