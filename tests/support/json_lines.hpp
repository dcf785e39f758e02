// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "catch.hpp"

namespace kedge::testing {

/// The objects of a JSONL text, or of a file.
inline std::vector<nlohmann::ordered_json> lines(std::istream& in) {
  std::vector<nlohmann::ordered_json> all;
  for (std::string line; std::getline(in, line);) all.push_back(nlohmann::ordered_json::parse(line));
  return all;
}
inline std::vector<nlohmann::ordered_json> lines(std::filesystem::path const& file) {
  std::ifstream in(file);
  REQUIRE(in);
  return lines(in);
}

/// The object of a JSON file.
inline nlohmann::ordered_json read_json(std::filesystem::path const& file) {
  std::ifstream in(file);
  REQUIRE(in);
  return nlohmann::ordered_json::parse(in);
}

}  // namespace kedge::testing
