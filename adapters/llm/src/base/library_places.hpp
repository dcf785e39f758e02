// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

namespace kedge::llm {

/// Where a library of kedge's own that is loaded on demand may lie: beside the program, where it is built; in lib/kedge, where it is installed.
[[nodiscard]] std::vector<std::filesystem::path> library_places(std::string const& name);

}  // namespace kedge::llm
