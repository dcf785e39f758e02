// SPDX-License-Identifier: Apache-2.0
#include "data_files.hpp"

#include <algorithm>  // sort

#include <fnmatch.h>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {

std::vector<std::filesystem::path> files_of(std::filesystem::path const& path) {
  std::error_code ignored;
  std::string const pattern = path.filename().string();
  if (pattern.find('*') == std::string::npos || std::filesystem::exists(path, ignored)) return {path};
  std::filesystem::path const folder = path.has_parent_path() ? path.parent_path() : ".";
  std::vector<std::filesystem::path> files;
  for (auto const& entry : std::filesystem::directory_iterator(folder, ignored))
    if (entry.is_regular_file() && ::fnmatch(pattern.c_str(), entry.path().filename().c_str(), FNM_PERIOD) == 0)
      files.push_back(entry.path());
  if (files.empty()) throw error(in_quotes(path.string()) + ": no file has such a name");
  std::sort(files.begin(), files.end());
  return files;
}

data_files::data_files(std::filesystem::path const& path)
    : files_(files_of(path)), lines_(std::make_unique<line_source>(files_.front())) {}

bool data_files::next(std::string_view& line) {
  while (!lines_->next(line)) {
    if (opened_ == files_.size()) return false;
    lines_ = std::make_unique<line_source>(files_[opened_++]);
    number_ = 0;
  }
  if (++number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  return true;
}

}  // namespace kedge::llm
