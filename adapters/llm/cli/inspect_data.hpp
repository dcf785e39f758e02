// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "command.hpp"

namespace kedge::cli {

/// Whether an argument of `kedge inspect` names a data set: "-", a pipe, or a file that is neither GGUF nor a config.json, nor
/// one of settings (.toml).
bool is_data(std::string const& argument);

/// `kedge inspect DATA`. returns exit_error where lines can't be used
int inspect_data(arguments const& args);

}  // namespace kedge::cli
