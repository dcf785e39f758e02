// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <functional>  // function
#include <memory>      // unique_ptr
#include <optional>    // optional
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

class data_files;
class schema_reader;

/// Where a line stands, and the whole of its object.
struct json_line {
  nlohmann::ordered_json object;
  std::size_t number = 0;  ///< counts from 1, blank lines included
  std::string place;       ///< "'FILE':NUMBER", for messages
  std::size_t index = 0;   ///< counts what a reader gives from 0; a line may hold several examples
};

/// Reads one JSON object a line, in order, from a file, a pipe or standard input ("-"), plain or packed by gzip or zstd; or the rows of a
/// Parquet file. A name with * in its last part means all files that it fits, by name, one after the other. Blank lines, a byte order
/// mark and CRLF line ends are passed over.
/// cost    memory for the longest line (at most 1 GiB), however long the file
class json_line_reader {
 public:
  using taker = std::function<void(json_line)>;

  /// throws  kedge::llm::error if the file cannot be read
  json_line_reader(std::filesystem::path const& path, bool skip_bad_lines);

  /// Lines in `how.format` become objects with TRL's keys for examples of a kind; without one, of the kind that the lines are of.
  json_line_reader(std::filesystem::path const& path, reading const& how, std::optional<data_kind> wanted = {});
  ~json_line_reader();

  /// Gives `take` the next line that will do. returns false at the end, or once `how.most` were taken
  ///
  /// `take` may throw kedge::llm::error with the reason why a line won't do; the message gets the place in front. With
  /// `skip_bad_lines` such lines, and lines that are no JSON object, are counted and left out instead.
  /// throws  kedge::llm::error for a bad line, damaged packed data, and at the end of a file with no usable line at all
  bool next(taker const& take);

  std::size_t skipped() const noexcept { return skipped_; }
  std::vector<std::string> const& problems() const noexcept { return problems_; }  ///< of the first ten lines skipped
  /// What the lines were taken for, and what of them makes no example; see reading_report.
  std::vector<std::string> notes() const;
  std::string const& name() const noexcept;  ///< the file that is read, in quotes

 private:
  bool give(taker const& take, json_line line);
  void skip(std::string const& place, std::string const& why);

  std::unique_ptr<data_files> files_;
  std::unique_ptr<schema_reader> schema_;
  bool skip_bad_lines_, at_end_ = false, first_ = true;
  std::size_t most_, given_ = 0, taken_ = 0, skipped_ = 0;
  std::vector<std::string> problems_;
};

/// All lines of a file by json_line_reader.
/// returns the number of lines left out
std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines, json_line_reader::taker const& take);

}  // namespace kedge::llm
