// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t
#include <cstdint>       // uint8_t
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

namespace kedge::llm::text {

/// General categories in the order of category_tables.inc.
enum class category : std::uint8_t {
  Cn, Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf, Co
};

struct code_point {
  char32_t value;
  std::uint32_t length;  ///< bytes it took
};

/// The code point at `p`, which must be the start of a character of valid UTF-8.
inline code_point decode(char const* p) noexcept {
  auto const byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  char32_t const first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {((first & 0x1FU) << 6U) | (byte(1) & 0x3FU), 2};
  if (first < 0xF0) return {((first & 0x0FU) << 12U) | ((byte(1) & 0x3FU) << 6U) | (byte(2) & 0x3FU), 3};
  return {((first & 0x07U) << 18U) | ((byte(1) & 0x3FU) << 12U) | ((byte(2) & 0x3FU) << 6U) | (byte(3) & 0x3FU), 4};
}

/// Bytes of the character that starts with `lead`.
inline std::uint32_t length_of(char lead) noexcept {
  auto const byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Characters of a UTF-8 text, as Python counts them: bytes that begin one.
inline std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (char const c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

/// Start of the character before `position` > 0.
inline std::size_t before(std::string_view text, std::size_t position) noexcept {
  do --position;
  while ((static_cast<unsigned char>(text[position]) & 0xC0U) == 0x80U);
  return position;
}

void append(std::string& out, char32_t value);
std::string to_utf8(std::u32string_view text);
std::u32string to_utf32(std::string_view utf8);

/// First byte of `text` that no valid UTF-8 has there, npos if there is none.
std::size_t find_invalid(std::string_view text) noexcept;

/// `bytes` with every maximal invalid sequence replaced by U+FFFD (as Unicode recommends and Rust's from_utf8_lossy does).
std::string replace_invalid(std::string_view bytes);

category category_of(char32_t value) noexcept;
bool is_white_space(char32_t value) noexcept;
bool is_word(char32_t value) noexcept;        ///< \w of regular expressions
bool is_plain_word(char32_t value) noexcept;  ///< \w as added tokens and the pre-tokenizer Whitespace see it
bool is_punctuation(char32_t value) noexcept;
bool is_numeric(char32_t value) noexcept;     ///< Nd, Nl, No

/// Appends the lower case of `value` (two code points for U+0130).
void append_lower(std::string& out, char32_t value);
/// Appends the upper case of `value` (up to three code points).
void append_upper(std::string& out, char32_t value);
char32_t simple_lower(char32_t value) noexcept;

/// Ranges [first, last], first₀, last₀, first₁, … of what is named: a category ("Lu"), a group ("L"), "Han", "word",
/// "space"; empty if the name is unknown.
std::vector<char32_t> ranges_of(std::string_view property);

enum class normal_form : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// The normal form as the reference tokenizer computes it (Unicode 9 data; newer characters stay as they are).
/// cost    linear; a copy when every character is below U+0300 (nfc) or ASCII
std::string normalize(std::string_view utf8, normal_form form);

/// True if the reference's StripAccents removes it: a mark (Mn, Mc, Me) of Unicode 9.
bool is_combining_mark(char32_t value) noexcept;

}  // namespace kedge::llm::text
