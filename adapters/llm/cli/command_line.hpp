// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/base/settings_list.hpp>

namespace kedge::cli {

using arguments = std::vector<std::string>;

/// Thrown once the help, or the table of flags, has been printed.
struct help_printed {};

/// The command line of a subcommand: its settings, and what it prints about them.
class command_line {
 public:
  command_line(std::string program, std::string about);

  llm::settings_list settings;

  /// Reads flags and the file of --config, whose values flags override; `-` and `_` are the same in names.
  /// throws  usage_error; help_printed after --help, and after --help=markdown, which prints the table of the documentation
  void parse(arguments const& args);

 private:
  void read_flags(arguments const& args);
  void read_config();
  void print_help() const;
  void print_table() const;

  std::string program_, about_;
  std::filesystem::path config_;
};

}  // namespace kedge::cli
