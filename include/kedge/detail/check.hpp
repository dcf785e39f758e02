// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <concepts>
#include <stdexcept>
#include <string>

namespace kedge::detail {

// Shortest text that reads back as the same number: 1e-12 stays visible.
inline std::string text(std::floating_point auto number) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}
inline std::string text(std::integral auto number) { return std::to_string(number); }
inline std::string text(std::string part) { return part; }

/// The one way to refuse bad input: says what was passed, why it cannot work and what to do.
/// throws  std::invalid_argument
template <class... Parts>
void require(bool holds, Parts const&... parts) {
  if (holds) return;
  std::string message;
  ((message += text(parts)), ...);
  throw std::invalid_argument(message);
}

}  // namespace kedge::detail
