// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <string>

#include "command.hpp"

namespace kedge::cli {

/// The subcommands that need no LibTorch.
inline constexpr std::array formats_commands{
    command{"soup", "one model from several: averages and mixtures of checkpoints", run_soup},
    command{"shuffle", "the lines of a data set in a random order, also of one larger than memory", run_shuffle},
    command{"tokenize", "token ids of lines or of chat messages", run_tokenize},
    command{"inspect", "what a checkpoint or a data set is, and what is wrong with it", run_inspect},
    command{"export", "a model as a GGUF file", run_export},
};

/// What a program has.
struct program {
  std::span<command const> commands;
  std::string about;   ///< lines of --version between the program's own and that of the kernels
  std::string absent;  ///< why other subcommands are not there; empty: all are
};

/// `kedge --help`, `kedge --version`, or the subcommand that the first argument names. returns an exit code
int run_program(program const& self, arguments args);

}  // namespace kedge::cli
