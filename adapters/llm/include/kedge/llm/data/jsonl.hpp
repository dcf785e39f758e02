// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <filesystem>  // path
#include <functional>  // function
#include <string>      // string

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// Where a line stands, and the whole of its object.
struct json_line {
  nlohmann::ordered_json object;
  std::size_t number = 0;  ///< counts from 1, blank lines included
  std::string place;       ///< "'FILE':NUMBER", for messages
};

/// Reads a file of one JSON object a line, in order. Blank lines, a byte order mark and CRLF line ends are passed over. A
/// pipe or a device (/dev/stdin) is read to its end first; a file compressed by gzip or zstd goes through that program.
///
/// `take` may throw kedge::llm::error with the reason why a line won't do; the message gets the place in front. With
/// `skip_bad_lines` such lines, and lines that are no JSON object, are counted and left out instead.
/// returns the number of lines left out
/// throws  kedge::llm::error for the first bad line, a file that cannot be read, or one with no usable line at all
std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines, std::function<void(json_line)> const& take);

}  // namespace kedge::llm
