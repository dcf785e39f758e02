// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#if !defined(__cpp_exceptions)
#include <cstdio>
#include <cstdlib>
#endif

namespace kedge::detail {

// Shortest text that reads back as the same number: 1e-12 stays visible.
inline std::string text(std::floating_point auto number) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, number).ptr};
}
inline std::string text(std::integral auto number) { return std::to_string(number); }
inline std::string text(std::string part) { return part; }

/// The one place where kedge gives up: throws Error, or prints the message and aborts in a program without exceptions.
template <class Error = std::invalid_argument>
[[noreturn]] void fail(std::string const& message) {
#if defined(__cpp_exceptions)
  throw Error(message);
#else
  std::fprintf(stderr, "kedge: %s\n", message.c_str());
  std::abort();
#endif
}

/// The one way to refuse bad input: says what was passed, why it cannot work and what to do.
/// throws  std::invalid_argument
template <class... Parts>
void require(bool holds, Parts const&... parts) {
  if (holds) return;
  std::string message;
  ((message += text(parts)), ...);
  fail(message);
}

// By the bits: -ffast-math lets a compiler take x != x and std::isfinite for constants.
[[nodiscard]] inline bool is_finite(double x) { return (std::bit_cast<std::uint64_t>(x) >> 52 & 0x7ff) != 0x7ff; }
[[nodiscard]] inline bool is_nan(double x) { return !is_finite(x) && std::bit_cast<std::uint64_t>(x) << 12 != 0; }

}  // namespace kedge::detail
