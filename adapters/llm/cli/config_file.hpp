// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kedge::cli {

/// A key of a configuration file, and its value or values as texts.
struct config_entry {
  std::string key;
  std::vector<std::string> values;
};

/// Reads a configuration file: TOML, YAML or JSON, by the ending of its name. Keys whose value is null are left out, as if they weren't there.
/// throws  usage_error naming the file if it can't be read, is damaged, or has a section or a value inside another
[[nodiscard]] std::vector<config_entry> read_config_file(std::filesystem::path const& file);

}  // namespace kedge::cli
