// SPDX-License-Identifier: Apache-2.0
#include <array>    // array
#include <cstddef>  // size_t

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>

namespace kedge::llm {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 200;
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out = "'";
  bool const readable = is_utf8(text);
  std::size_t used = 0;
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    bool const boundary = (byte & 0xc0U) != 0x80U;  // never cut inside a character
    if (++used > longest && boundary) {
      out += "...";
      break;
    }
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !readable)) {
      out += "\\x";
      out += hex[byte >> 4U];
      out += hex[byte & 15U];
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace kedge::llm
