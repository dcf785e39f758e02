// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>    // runtime_error
#include <string>       // string
#include <string_view>  // string_view

namespace kedge::llm {

/// What every room of kedge::llm throws: one line that says what was wrong, where, and what to do.
class error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// throws  error with this message unless it holds
inline void require(bool holds, std::string const& message) {
  if (!holds) throw error(message);
}

/// `'text'` fit for a one-line message: control characters and bytes that are not UTF-8 become escapes, long texts are
/// cut. Names in messages often come from a file that someone else wrote.
std::string in_quotes(std::string_view text);

}  // namespace kedge::llm
