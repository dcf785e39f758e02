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
  bool nested = false;  ///< the value holds other keys; its text is JSON
};

/// Reads a configuration file: TOML, YAML or JSON, by the ending of its name. Keys whose value is null are left out, as if they weren't there.
/// throws  usage_error naming the file if it can't be read, is damaged, or is TOML with a section
[[nodiscard]] std::vector<config_entry> read_config_file(std::filesystem::path const& file);

/// throws  usage_error: a key holds others, which it doesn't take
[[noreturn]] void refuse_nested(std::filesystem::path const& file, std::string const& key);

}  // namespace kedge::cli
