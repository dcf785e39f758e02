// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>

#include "command.hpp"

namespace kedge::cli {

/// The subcommands that need no LibTorch.
inline constexpr std::array formats_commands{
    command{"soup", "one model from several: averages and mixtures of checkpoints", run_soup},
    command{"convert", "a data set of any format as JSON lines with TRL's keys", run_convert},
    command{"shuffle", "the lines of a data set in a random order, also of one larger than memory", run_shuffle},
    command{"tokenize", "token ids of lines or of chat messages", run_tokenize},
    command{"inspect", "what a checkpoint or a data set is, and what is wrong with it", run_inspect},
    command{"export", "a model as a GGUF file", run_export},
    command{"report", "a page on a run, or on several side by side", run_report},
    command{"pull", "a model or a data set of the hub into its cache", run_pull},
};

/// What a program has.
struct program {
  std::span<command const> commands;
  std::function<std::string()> about;  ///< lines of --version between the program's own and that of the kernels
  std::string absent;                  ///< why other subcommands are not there; empty: all are
};

/// `kedge --help`, `kedge --version`, or the subcommand that the first argument names. returns an exit code
int run_program(program const& self, arguments args);

}  // namespace kedge::cli
