// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>   // path
#include <string>       // string
#include <string_view>  // string_view

struct kedge_parquet_functions;

namespace kedge::llm {

/// The rows of a Parquet file as JSON lines, in order. What reads them is a library beside the program, loaded here.
/// cost    memory for some hundred rows and a buffer for each column
class parquet_file {
 public:
  /// throws  kedge::llm::error if there is no such library, or the file cannot be read
  explicit parquet_file(std::filesystem::path const& path);
  parquet_file(parquet_file const&) = delete;
  parquet_file& operator=(parquet_file const&) = delete;
  ~parquet_file();

  /// The next lines, valid until the next call; empty at the end.
  /// throws  kedge::llm::error if the file is damaged
  std::string_view next();

 private:
  std::string name_;
  kedge_parquet_functions const* functions_;
  void* file_;
};

}  // namespace kedge::llm
