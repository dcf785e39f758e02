// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>  // string

namespace kedge::llm {

/// Names with a comma between them, for messages.   names: a range of strings
template <class Names>
[[nodiscard]] std::string listed(Names const& names) {
  std::string text;
  for (std::string const& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace kedge::llm
