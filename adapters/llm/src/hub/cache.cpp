// SPDX-License-Identifier: Apache-2.0
#include "cache.hpp"

#include <algorithm>
#include <fstream>
#include <regex>

#include "layout.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

}  // namespace

fs::path repository_in(fs::path const& cache, hub_name const& name) { return cache / repository_folder(name); }

std::optional<fs::path> cached_snapshot(hub_name const& name, fs::path const& cache) {
  fs::path const repository = repository_in(cache, name);
  std::string commit = name.revision;
  if (!name.is_commit()) {
    std::ifstream(repository / refs_folder / name.revision) >> commit;
    if (!is_hexadecimal(commit, commit_digits)) return std::nullopt;
  }
  std::error_code absent;
  fs::path snapshot = repository / snapshots_folder / commit;
  if (!fs::is_directory(snapshot, absent)) return std::nullopt;
  return snapshot;
}

std::vector<std::string> files_under(fs::path const& folder) {
  std::vector<std::string> files;
  std::error_code problem;
  for (auto const& entry : fs::recursive_directory_iterator(folder, problem))
    if (entry.is_regular_file(problem)) files.push_back(entry.path().lexically_relative(folder).generic_string());
  std::sort(files.begin(), files.end());
  return files;
}

bool has_all_parts(fs::path const& gguf) {
  static std::regex const numbered(R"((.*)-\d{5}-of-(\d{5})\.gguf)");
  std::smatch found;
  std::string const name = gguf.filename().string();
  if (!std::regex_match(name, found, numbered)) return true;
  std::string const prefix = found[1].str() + "-", suffix = "-of-" + found[2].str() + ".gguf";
  for (int i = 1, count = std::stoi(found[2].str()); i <= count; ++i) {
    std::string const number = std::to_string(i);
    std::error_code absent;
    if (!fs::is_regular_file(gguf.parent_path() / (prefix + std::string(5 - number.size(), '0') + number + suffix), absent))
      return false;
  }
  return true;
}

fs::path only_gguf_in(fs::path const& folder) {
  fs::path found;
  for (std::string const& file : files_under(folder)) {
    static std::regex const later(R"(.*-(?!00001)\d{5}-of-\d{5}\.gguf)");
    if (!file.ends_with(".gguf") || file.find("mmproj") != std::string::npos || std::regex_match(file, later)) continue;
    if (!found.empty()) return {};
    found = folder / file;
  }
  return found;
}

}  // namespace kedge::llm
