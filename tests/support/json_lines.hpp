// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace kedge::testing {

/// The objects of a JSONL file.
inline std::vector<nlohmann::ordered_json> lines(std::filesystem::path const& file) {
  std::vector<nlohmann::ordered_json> all;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) all.push_back(nlohmann::ordered_json::parse(line));
  return all;
}

}  // namespace kedge::testing
