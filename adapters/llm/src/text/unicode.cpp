// SPDX-License-Identifier: Apache-2.0
#include "unicode.hpp"

#include <algorithm>  // upper_bound
#include <array>      // array
#include <iterator>   // size
#include <memory>     // unique_ptr, make_unique

namespace kedge::llm::text {
namespace {

#include "category_tables.inc"

constexpr char32_t end_of_unicode = 0x110000;
constexpr std::uint8_t word_flag = 0x80, numeric_flag = 0x40, punctuation_flag = 0x20;
constexpr std::uint8_t category_mask = 0x1F;

/// One byte a code point: category and flags.
struct properties {
  std::array<std::uint8_t, end_of_unicode> of{};

  properties() {
    std::size_t const n = std::size(category_runs);
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t const last = i + 1 < n ? category_runs[i + 1] / 32 : end_of_unicode;
      std::fill(of.begin() + category_runs[i] / 32, of.begin() + last, static_cast<std::uint8_t>(category_runs[i] % 32));
    }
    mark(word_ranges, word_flag);
    mark(numeric_ranges, numeric_flag);
    mark(punctuation_ranges, punctuation_flag);
  }

  template <std::size_t N>
  void mark(std::uint32_t const (&ranges)[N], std::uint8_t flag) {
    for (std::size_t i = 0; i < N; i += 2)
      for (std::uint32_t c = ranges[i]; c <= ranges[i + 1]; ++c) of[c] = static_cast<std::uint8_t>(of[c] | flag);
  }
  [[nodiscard]] bool has(char32_t c, std::uint8_t flag) const { return c < end_of_unicode && (of[c] & flag) != 0; }
};

properties const& table() {
  static std::unique_ptr<properties const> const instance = std::make_unique<properties const>();
  return *instance;
}

constexpr std::string_view category_names = "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCo";

/// Length of the valid sequence at `i`, or 0 and in `bad` how many bytes to give up at once.
std::size_t sequence_length(std::string_view s, std::size_t i, std::size_t& bad) noexcept {
  auto const at = [&](std::size_t k) { return k < s.size() ? static_cast<unsigned char>(s[k]) : 0U; };
  unsigned const lead = at(i);
  bad = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  std::size_t const length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned const low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned const high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at(i + 1) < low || at(i + 1) > high) return 0;
  for (bad = 2; bad < length; ++bad)
    if ((at(i + bad) & 0xC0U) != 0x80U) return 0;
  return length;
}

void add_ranges(std::vector<char32_t>& out, char32_t first, char32_t last) {
  if (!out.empty() && out.back() + 1 == first)
    out.back() = last;
  else
    out.insert(out.end(), {first, last});
}

}  // namespace

void append(std::string& out, char32_t value) {
  auto const put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) return put(value);
  if (value < 0x800) {
    put(0xC0U | (value >> 6U));
  } else if (value < 0x10000) {
    put(0xE0U | (value >> 12U));
    put(0x80U | ((value >> 6U) & 0x3FU));
  } else {
    put(0xF0U | (value >> 18U));
    put(0x80U | ((value >> 12U) & 0x3FU));
    put(0x80U | ((value >> 6U) & 0x3FU));
  }
  put(0x80U | (value & 0x3FU));
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t const c : text) append(out, c);
  return out;
}

std::u32string to_utf32(std::string_view utf8) {
  std::u32string out;
  out.reserve(utf8.size());
  for (std::size_t i = 0; i < utf8.size();) {
    auto const [value, length] = decode(utf8.data() + i);
    out.push_back(value);
    i += length;
  }
  return out;
}

std::size_t find_invalid(std::string_view text) noexcept {
  std::size_t bad = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t const length = sequence_length(text, i, bad);
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::string replace_invalid(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  std::size_t bad = 0;
  for (std::size_t i = 0; i < bytes.size();) {
    std::size_t const length = sequence_length(bytes, i, bad);
    if (length == 0)
      out += "\xEF\xBF\xBD";
    else
      out.append(bytes, i, length);
    i += length == 0 ? bad : length;
  }
  return out;
}

category category_of(char32_t value) noexcept {
  return value < end_of_unicode ? static_cast<category>(table().of[value] & category_mask) : category::Cn;
}

bool is_word(char32_t value) noexcept { return table().has(value, word_flag); }
bool is_numeric(char32_t value) noexcept { return table().has(value, numeric_flag); }
bool is_punctuation(char32_t value) noexcept { return table().has(value, punctuation_flag); }

bool is_plain_word(char32_t c) noexcept {
  bool const fraction_or_power = c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE);
  return c == 0x200C || c == 0x200D || (is_word(c) && !fraction_or_power);
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

namespace {

/// Looks `c` up in runs of first, last, stride, target of first.
template <std::size_t N>
char32_t change_case(std::uint32_t const (&runs)[N], char32_t c) noexcept {
  std::size_t low = 0;
  std::size_t high = N / 4;
  while (low < high) {
    std::size_t const middle = (low + high) / 2;
    std::uint32_t const* const run = runs + 4 * middle;
    if (c > run[1]) {
      low = middle + 1;
    } else if (c < run[0]) {
      high = middle;
    } else {
      return (c - run[0]) % run[2] == 0 ? c - run[0] + run[3] : c;
    }
  }
  return c;
}

}  // namespace

char32_t simple_lower(char32_t c) noexcept { return change_case(lower_runs, c); }

void append_upper(std::string& out, char32_t value) {
  for (std::size_t i = 0; i < std::size(upper_special) && value >= 0x80; i += 4) {
    if (upper_special[i] != value) continue;
    for (std::size_t k = 1; k < 4 && upper_special[i + k] != 0; ++k) append(out, upper_special[i + k]);
    return;
  }
  append(out, change_case(upper_runs, value));
}

void append_lower(std::string& out, char32_t value) {
  if (value == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  append(out, simple_lower(value));
}

std::vector<char32_t> ranges_of(std::string_view property) {
  std::vector<char32_t> out;
  auto const copy = [&out](auto const& ranges) { out.assign(std::begin(ranges), std::end(ranges)); };
  if (property == "word") return copy(word_ranges), out;
  if (property == "Han") return copy(han_ranges), out;
  if (property == "space") {
    for (char32_t c = 0; c <= 0x3000; ++c)
      if (is_white_space(c)) add_ranges(out, c, c);
    return out;
  }
  std::size_t const n = std::size(category_runs);
  for (std::size_t i = 0; i < n; ++i) {
    std::string_view const name = category_names.substr(2 * (category_runs[i] % 32), 2);
    if (name != property && name.substr(0, 1) != property) continue;
    add_ranges(out, category_runs[i] / 32, i + 1 < n ? category_runs[i + 1] / 32 - 1 : end_of_unicode - 1);
  }
  return out;
}

}  // namespace kedge::llm::text
