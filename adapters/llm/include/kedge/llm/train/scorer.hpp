// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>  // function
#include <span>        // span
#include <string>      // string
#include <vector>      // vector

#include <nlohmann/json.hpp>

namespace kedge::llm {

/// A completion to be rewarded.
struct judged {
  nlohmann::ordered_json prompt;  ///< a text, or a list of messages
  std::string completion;         ///< the text that was sampled, without the end-of-turn token
};

/// Whatever rewards completions: a judge, a reward model, a function of the caller.
/// shapes  n completions -> n rewards, in order, all finite
using scorer = std::function<std::vector<double>(std::span<judged const>)>;

}  // namespace kedge::llm
