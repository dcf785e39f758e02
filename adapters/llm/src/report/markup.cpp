// SPDX-License-Identifier: Apache-2.0
#include "markup.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include <kedge/llm/base/json.hpp>
#include <kedge/version.hpp>

namespace kedge::llm {
namespace {

// The length of the well-formed character that the text begins with; 0 where there is none.
std::size_t character_length(std::string_view text) {
  auto const lead = static_cast<unsigned char>(text.front());
  std::size_t const size = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  return size <= text.size() && is_utf8(text.substr(0, size)) ? size : 0;
}

// What would change how a page reads around it: U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069 and U+061C turn its direction.
bool turns_direction(std::string_view c) {
  if (c == "\u061C" || c == "\u200E" || c == "\u200F") return true;
  return (c >= "\u202A" && c <= "\u202E") || (c >= "\u2066" && c <= "\u2069");
}

// Text that a reader sees in place of a character that has no sign.
std::string visible(unsigned char control) {
  return control == 0x7F
             ? "\u2421"
             : std::string("\xE2\x90") + static_cast<char>(0x80 + control);  // U+2400 and on: pictures of control characters
}

std::string formatted(char const* format, double value) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

// 2e-05 is 2e-5.
std::string without_zeros(std::string text) {
  auto const e = text.find('e');
  if (e == std::string::npos) return text;
  std::size_t const digits = e + 2;
  while (text[e + 1] != '0' && digits + 1 < text.size() && text[digits] == '0') text.erase(digits, 1);
  if (text[e + 1] == '+') text.erase(e + 1, 1);
  return text;
}

std::string whole(double value) { return formatted("%.0f", value); }

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t const size = character_length(text);
    std::string_view const c = text.substr(0, size);
    auto const byte = static_cast<unsigned char>(text.front());
    if (size == 0)
      out += "\uFFFD";
    else if (c == "<")
      out += "&lt;";
    else if (c == ">")
      out += "&gt;";
    else if (c == "&")
      out += "&amp;";
    else if (c == "\"")
      out += "&quot;";
    else if (c == "'")
      out += "&#39;";
    else if ((byte < 0x20 && c != "\n" && c != "\t") || byte == 0x7F)
      out += visible(byte);
    else
      out += turns_direction(c) ? "\uFFFD" : std::string(c);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

std::string short_figure(double value) {
  return std::isfinite(value) ? without_zeros(formatted("%.4g", value == 0 ? 0 : value)) : "not a number";
}

std::string exact_figure(double value) { return without_zeros(formatted("%.7g", value)); }

std::string short_steps(double steps) {
  if (steps >= 1e6) return short_figure(steps / 1e6) + "M";
  return steps >= 1e4 ? short_figure(steps / 1e3) + "k" : short_figure(steps);
}

std::string duration(double seconds) {
  double const s = std::round(seconds);
  if (seconds < 10) return formatted("%.1f", seconds) + " s";
  if (s < 60) return whole(s) + " s";
  if (s < 3600) return whole(std::floor(s / 60)) + " min " + whole(std::fmod(s, 60)) + " s";
  return whole(std::floor(s / 3600)) + " h " + whole(std::floor(std::fmod(s, 3600) / 60)) + " min";
}

std::string size_in_memory(double bytes) {
  return bytes < 1e9 ? formatted("%.0f", bytes / 1e6) + " MB" : formatted("%.2f", bytes / 1e9) + " GB";
}

std::string setting_text(nlohmann::ordered_json const& value) {
  if (value.is_null() || (value.is_array() && value.empty())) return "none";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return exact_figure(value.get<double>());
  if (!value.is_array()) return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string text;
  for (auto const& one : value) text += (text.empty() ? "" : ", ") + setting_text(one);
  return text;
}

std::string whole_page(std::string_view title, std::string_view body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
         "content=\"width=device-width, initial-scale=1\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src "
         "'unsafe-inline'\">\n<title>" +
         escaped(title) + "</title>\n<style>" + page_style + "</style>\n</head>\n<body>\n" + std::string(body) +
         "<footer>kedge " KEDGE_VERSION_STRING "</footer>\n<script>" + page_script + "</script>\n</body>\n</html>\n";
}

}  // namespace kedge::llm
