// SPDX-License-Identifier: Apache-2.0
#include "strings.hpp"

#include <algorithm>  // reverse
#include <charconv>   // from_chars
#include <cstring>    // memmem
#include <limits>     // numeric_limits

#include "../unicode.hpp"
#include "evaluator.hpp"
#include "lexer.hpp"

namespace kedge::llm::text::jinja {

std::size_t find_text(std::string_view s, std::string_view needle, std::size_t from) {
  if (from > s.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  void const* const found = ::memmem(s.data() + from, s.size() - from, needle.data(), needle.size());
  return found == nullptr ? std::string_view::npos : static_cast<std::size_t>(static_cast<char const*>(found) - s.data());
}

std::string to_lower(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); i += length_of(s[i])) append_lower(out, decode(s.data() + i).value);
  return out;
}

std::string to_upper(std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); i += length_of(s[i])) append_upper(out, decode(s.data() + i).value);
  return out;
}

std::string capitalized(std::string_view s) {
  if (s.empty()) return "";
  return to_upper(s.substr(0, length_of(s[0]))) + to_lower(s.substr(length_of(s[0])));
}

std::string strip(std::string_view s, std::string const* characters, bool left, bool right) {
  std::u32string const set = characters == nullptr ? U"" : to_utf32(*characters);
  auto const drops = [&](std::size_t i) {
    char32_t const c = decode(s.data() + i).value;
    return characters == nullptr ? is_python_space(c) : set.find(c) != std::u32string::npos;
  };
  std::size_t begin = 0;
  std::size_t end = s.size();
  while (left && begin < end && drops(begin)) begin += length_of(s[begin]);
  while (right && end > begin && drops(before(s, end))) end = before(s, end);
  return std::string(s.substr(begin, end - begin));
}

std::string replaced(evaluator& e, std::string_view s, std::string_view from, std::string_view to, std::int64_t count) {
  std::string out;
  std::size_t at = 0;
  if (from.empty()) {  // Python puts the replacement around every character
    for (; count != 0; --count) {
      out += to;
      if (at == s.size()) return e.checked(std::move(out));
      out += s.substr(at, length_of(s[at]));
      at += length_of(s[at]);
      if (out.size() > evaluator::longest_text) break;
    }
  }
  for (; count != 0 && !from.empty(); --count) {
    std::size_t const found = find_text(s, from, at);
    if (found == std::string_view::npos) break;
    out += s.substr(at, found - at);
    out += to;
    at = found + from.size();
    if (out.size() > evaluator::longest_text) break;
  }
  out += s.substr(at);
  return e.checked(std::move(out));
}

std::string repeated(evaluator& e, std::string_view s, std::int64_t times) {
  std::string out;
  if (times <= 0 || s.empty()) return out;
  auto const n = static_cast<std::uint64_t>(times);
  if (n > evaluator::longest_text / s.size()) throw fault("a repeated text that is too long");
  e.check_length(static_cast<std::size_t>(n) * s.size());
  for (std::uint64_t i = 0; i < n; ++i) out += s;
  return out;
}

std::vector<std::string> split_lines(std::string_view s, bool keep_ends) {
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < s.size();) {
    auto const [c, length] = decode(s.data() + i);
    std::size_t const end = i;
    i += length;
    bool const ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && i < s.size() && s[i] == '\n') ++i;
    out.emplace_back(s.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < s.size()) out.emplace_back(s.substr(begin));
  return out;
}

namespace {

std::vector<std::string> split_space(std::string_view s, std::int64_t most, bool from_right) {
  std::vector<std::string> out;
  auto const space = [&s](std::size_t i) { return is_python_space(decode(s.data() + i).value); };
  std::size_t begin = 0;
  std::size_t end = s.size();
  while (begin < end && space(begin)) begin += length_of(s[begin]);
  while (end > begin && space(before(s, end))) end = before(s, end);
  for (; begin < end && most != 0; --most) {
    std::size_t i = from_right ? end : begin;
    if (from_right) {
      while (i > begin && !space(before(s, i))) i = before(s, i);
      out.emplace_back(s.substr(i, end - i));
      while (i > begin && space(before(s, i))) i = before(s, i);
      end = i;
    } else {
      while (i < end && !space(i)) i += length_of(s[i]);
      out.emplace_back(s.substr(begin, i - begin));
      while (i < end && space(i)) i += length_of(s[i]);
      begin = i;
    }
  }
  if (begin < end) out.emplace_back(from_right ? s.substr(0, end) : s.substr(begin));  // with the white space of its far side
  return out;
}

}  // namespace

std::vector<std::string> split(std::string_view s, std::optional<std::string> const& separator, std::int64_t most, bool from_right) {
  if (most < 0) most = std::numeric_limits<std::int64_t>::max();
  std::vector<std::string> out;
  if (!separator) {
    out = split_space(s, most, from_right);
  } else {
    if (separator->empty()) throw fault("empty separator");
    for (; most != 0; --most) {
      std::size_t const found = from_right ? s.rfind(*separator) : find_text(s, *separator);
      if (found == std::string_view::npos) break;
      out.emplace_back(from_right ? s.substr(found + separator->size()) : s.substr(0, found));
      s = from_right ? s.substr(0, found) : s.substr(found + separator->size());
    }
    out.emplace_back(s);
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::optional<double> parse_float(std::string_view s) {
  std::string text = strip(s, nullptr, true, true);
  if (!text.empty() && text[0] == '+') text.erase(0, 1);
  double out = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace kedge::llm::text::jinja
