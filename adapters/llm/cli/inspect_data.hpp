// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "command.hpp"

namespace kedge::cli {

/// Whether an argument of `kedge inspect` says that it is about a data set: "-", a pipe, a file that is neither GGUF nor named
/// .json (a model's description) or .toml (settings), or the flag --dataset.
bool is_data(std::string const& argument);

/// `kedge inspect DATA`. returns exit_error where lines can't be used
int inspect_data(arguments const& args);

}  // namespace kedge::cli
