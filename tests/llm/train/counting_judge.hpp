// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace kedge::testing {

// Rewards every 'e' of a completion.
inline std::string const judge_command = R"sh(while IFS= read -r line; do printf '{"score": %d}\n' "$(printf %s "$line" | tr -cd e | wc -c)"; done)sh";

}  // namespace kedge::testing
