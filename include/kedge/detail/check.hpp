// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace kedge::detail {

/// The one way to refuse bad input: says what was passed, why it cannot work and what to do.
/// throws  std::invalid_argument
template <class... Parts>
void require(bool holds, Parts const&... parts) {
  if (holds) return;
  auto text = [](auto const& part) -> std::string {
    if constexpr (requires { std::to_string(part); })
      return std::to_string(part);
    else
      return std::string(part);
  };
  std::string message;
  ((message += text(parts)), ...);
  throw std::invalid_argument(message);
}

}  // namespace kedge::detail
