// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <kedge/llm/base/settings_list.hpp>

#include "trl_flags.hpp"

namespace kedge::cli {

using arguments = std::vector<std::string>;

/// Thrown once the help, or the table of flags, has been printed.
struct help_printed {};

/// The command line of a subcommand: its settings, and what it prints about them.
class command_line {
 public:
  command_line(std::string program, std::string about);

  llm::settings_list settings;

  /// Flags of TRL's that are no settings are taken too, as trl_flags() says.
  void take_trl_flags() { takes_trl_ = true; }

  /// Reads flags and the file of --config, whose values flags override; `-` and `_` are the same in names. Models that are named and are no paths
  /// are looked for (local_model).
  /// throws  usage_error; help_printed after --help, and after --help=markdown and --help=trl, which print tables of the documentation
  void parse(arguments const& args);

  /// What was given and is without effect, in a line; empty where there is nothing of that kind.
  [[nodiscard]] std::string remark() const;

 private:
  // A flag of TRL's as it was given.
  struct trl_given {
    trl_flag const* flag;
    std::string value;  // several joined by blanks
    std::string where;  // of a file; empty: on the command line
  };

  [[nodiscard]] arguments joined(arguments const& args);
  [[nodiscard]] trl_flag const* trl(std::string const& name) const;
  [[nodiscard]] std::size_t take_trl(arguments const& args, std::size_t i);
  [[nodiscard]] trl_case const* trl_case_of(llm::setting const& one, std::string const& value) const;
  [[nodiscard]] std::vector<std::string> without_idle(llm::setting& one, std::vector<std::string> const& values);
  void read(llm::setting& one, std::vector<std::string> values, std::string const& where);
  void apply(std::vector<trl_given> const& all, std::vector<llm::setting const*> const& by_flag);
  void map(trl_given const& given, std::string_view target, std::vector<llm::setting const*> const& by_flag);
  void note(std::string const& why, std::string const& flag);
  void read_flags(arguments const& args);
  void read_config();
  void print_help() const;
  void print_table() const;

  std::string program_, about_, command_;
  std::filesystem::path config_;
  bool takes_trl_ = false;
  std::vector<trl_given> trl_flags_;  // of the command line
  std::vector<std::pair<std::string, std::vector<std::string>>> remarks_;  // why, and the flags
};

}  // namespace kedge::cli
