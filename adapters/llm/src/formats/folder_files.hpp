// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>    // path, is_regular_file
#include <system_error>  // error_code
#include <utility>       // move

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

namespace kedge::llm {

inline bool is_there(std::filesystem::path const& file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(file, ignored);
}

/// throws  kedge::llm::error if the file is no JSON, or no object
inline nlohmann::ordered_json read_object(std::filesystem::path const& file) {
  nlohmann::ordered_json out = read_json_file(file);
  if (!out.is_object()) throw error(in_quotes(file.string()) + " is not a JSON object; fetch the file again");
  return out;
}

inline nlohmann::ordered_json read_object_if_there(std::filesystem::path const& file, nlohmann::ordered_json otherwise) {
  return is_there(file) ? read_object(file) : std::move(otherwise);
}

}  // namespace kedge::llm
