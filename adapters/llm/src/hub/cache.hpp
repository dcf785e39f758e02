// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>  // path
#include <string>      // string
#include <vector>      // vector

#include <kedge/llm/hub/hub.hpp>

namespace kedge::llm {

/// CACHE/models--ORG--NAME
[[nodiscard]] std::filesystem::path repository_in(std::filesystem::path const& cache, hub_name const& name);

/// Paths of the files under a folder, relative to it, sorted.
[[nodiscard]] std::vector<std::string> files_under(std::filesystem::path const& folder);

/// The one GGUF model in a folder, its first part where it has several; empty where there is none, or more than one.
[[nodiscard]] std::filesystem::path only_gguf_in(std::filesystem::path const& folder);

/// Every part of a GGUF file is there: MODEL-00001-of-00003.gguf says how many there are.
[[nodiscard]] bool has_all_parts(std::filesystem::path const& gguf);

}  // namespace kedge::llm
