// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>         // array
#include <optional>      // optional
#include <string>        // string
#include <string_view>   // string_view

#include "unicode.hpp"

namespace kedge::llm::text {

/// GPT-2's printable stand-ins for the 256 bytes: a byte that prints in Latin-1 stands for itself, the others follow from U+0100.
inline std::array<char32_t, 256> const& byte_alphabet() {
  static std::array<char32_t, 256> const alphabet = [] {
    std::array<char32_t, 256> out{};
    char32_t next = 0x100;
    for (char32_t b = 0; b < 256; ++b) {
      bool const prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      out[b] = prints ? b : next++;
    }
    return out;
  }();
  return alphabet;
}

/// The byte that `c` stands for, -1 if none.
inline int byte_of(char32_t c) {
  static std::array<int, 0x144> const bytes = [] {
    std::array<int, 0x144> out{};
    out.fill(-1);
    for (int b = 0; b < 256; ++b) out[byte_alphabet()[static_cast<std::size_t>(b)]] = b;
    return out;
  }();
  return c < bytes.size() ? bytes[c] : -1;
}

inline std::string to_stand_ins(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char const b : bytes) append(out, byte_alphabet()[static_cast<unsigned char>(b)]);
  return out;
}

/// The bytes that `text` stands for; nothing if some character is no stand-in.
inline std::optional<std::string> from_stand_ins(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    auto const [value, length] = decode(text.data() + i);
    int const b = byte_of(value);
    if (b < 0) return std::nullopt;
    out.push_back(static_cast<char>(static_cast<unsigned char>(b)));
    i += length;
  }
  return out;
}

}  // namespace kedge::llm::text
