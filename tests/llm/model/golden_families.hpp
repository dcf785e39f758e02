// SPDX-License-Identifier: Apache-2.0
#pragma once

// The tiny models of tests/golden/families, one a family.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/weights.hpp>

namespace kedge::testing {

struct named_model {
  std::string name;
  llm::transformer_config config;
  llm::pack theta;
};

inline named_model golden_family(std::string const& name) {
  llm::checkpoint const source = llm::checkpoint::open(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "families" / name);
  llm::transformer_config const config = llm::read_config(source);
  return {name, config, llm::load_parameters(source, config)};
}

/// All of them, by name.
inline std::vector<named_model> golden_families() {
  std::vector<named_model> all;
  for (auto const& entry : std::filesystem::directory_iterator(std::filesystem::path(KEDGE_TESTS_DIR) / "golden" / "families"))
    if (entry.is_directory()) all.push_back(golden_family(entry.path().filename().string()));
  std::ranges::sort(all, {}, &named_model::name);
  return all;
}

}  // namespace kedge::testing
