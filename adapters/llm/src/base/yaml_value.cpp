// SPDX-License-Identifier: Apache-2.0
#include "yaml_value.hpp"

#include <algorithm>  // all_of, any_of, find, find_if, remove
#include <charconv>   // from_chars
#include <cmath>      // ldexp
#include <limits>     // numeric_limits
#include <sstream>    // istringstream

#include <yaml-cpp/yaml.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/mapped_file.hpp>

namespace kedge::llm {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Digits of a base, underscores among them.
bool are_digits(std::string_view text, unsigned base) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    unsigned const value = is_digit(c)                              ? static_cast<unsigned>(c - '0')
                           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? static_cast<unsigned>((c | 0x20) - 'a' + 10)
                                                                    : 99;
    return c == '_' || value < base;
  });
}

std::string without_underscores(std::string_view text) {
  std::string out(text);
  out.erase(std::remove(out.begin(), out.end(), '_'), out.end());
  return out;
}

double decimal(std::string const& digits) {
  double out = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), out);
  return out;
}

double in_base(std::string_view digits, double base) {
  double out = 0;
  for (char const c : without_underscores(digits)) out = out * base + (is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  return out;
}

/// "1:30" is 90: parts of two digits at most below 60 after the first. Nothing where the text is none of it.
std::optional<double> sexagesimal(std::string_view text) {
  std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || !is_digit(text.front()) || !are_digits(text.substr(0, colon), 10)) return std::nullopt;
  double out = decimal(without_underscores(text.substr(0, colon)));
  while (colon != std::string_view::npos) {
    text.remove_prefix(colon + 1);
    colon = text.find(':');
    std::string_view const part = text.substr(0, colon);
    bool const valid = !part.empty() && part.size() <= 2 && std::all_of(part.begin(), part.end(), is_digit) &&
                       (part.size() == 1 || part[0] < '6');
    if (!valid) return std::nullopt;
    out = out * 60 + decimal(std::string(part));
  }
  return out;
}

/// Without its sign.
std::optional<double> integer_in(std::string_view digits) {
  if (digits == "0") return 0;
  if (digits.starts_with("0b"))
    return are_digits(digits.substr(2), 2) ? std::optional{in_base(digits.substr(2), 2)} : std::nullopt;
  if (digits.starts_with("0x"))
    return are_digits(digits.substr(2), 16) ? std::optional{in_base(digits.substr(2), 16)} : std::nullopt;
  if (digits.starts_with('0')) return are_digits(digits.substr(1), 8) ? std::optional{in_base(digits, 8)} : std::nullopt;
  if (digits.empty() || !is_digit(digits.front())) return std::nullopt;
  if (digits.find(':') != std::string_view::npos) return sexagesimal(digits);
  return are_digits(digits, 10) ? std::optional{decimal(without_underscores(digits))} : std::nullopt;
}

/// The same of a number with a point. An exponent needs its sign.
std::optional<double> real_in(std::string_view digits, bool has_sign) {
  std::size_t const point = digits.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  std::string_view whole = digits.substr(0, point), fraction = digits.substr(point + 1), exponent;
  if (whole.find(':') != std::string_view::npos) {
    auto const base = sexagesimal(whole);
    bool const valid = base && (fraction.empty() || are_digits(fraction, 10));
    return valid ? std::optional{*base + decimal("0." + without_underscores(fraction) + "0")} : std::nullopt;
  }
  if (std::size_t const e = fraction.find_first_of("eE"); e != std::string_view::npos) {
    exponent = fraction.substr(e);
    fraction = fraction.substr(0, e);
    if (exponent.size() < 3 || (exponent[1] != '-' && exponent[1] != '+') ||
        !std::all_of(exponent.begin() + 2, exponent.end(), is_digit))
      return std::nullopt;
  }
  bool const begins = whole.empty() ? !has_sign && !fraction.empty() && is_digit(fraction.front())
                                    : is_digit(whole.front()) && are_digits(whole, 10);
  if (!begins || (!fraction.empty() && !are_digits(fraction, 10))) return std::nullopt;
  return number_in(without_underscores(whole) + "." + without_underscores(fraction) + std::string(exponent));
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

/// Turns yaml-cpp's nodes, whose texts it keeps, into values.
class builder {
 public:
  builder(std::filesystem::path const& file, std::vector<std::string>& notes) : file_(file), notes_(notes) {}

  yaml_value build(YAML::Node const& node, int depth = 0) {
    constexpr int deepest = 100;
    constexpr std::size_t most = 1'000'000;
    yaml_value out;
    out.line = node.Mark().line + 1;
    if (depth > deepest || ++count_ > most)
      throw error(place_of(file_, out) + ": nested or repeated beyond measure; is there an alias of what holds it?");
    if (node.IsScalar()) return scalar(node, out.line);
    if (node.IsSequence()) {
      out.kind = yaml_kind::list;
      for (auto const& item : node) out.items.push_back(build(item, depth + 1));
    }
    if (node.IsMap()) {
      out.kind = yaml_kind::mapping;
      mapping(node, out, depth);
    }
    return out;
  }

 private:
  yaml_value scalar(YAML::Node const& node, int line) const {
    yaml_value out;
    std::string const& tag = node.Tag();
    if (tag == "?" || tag.empty()) {
      out = plain_scalar(node.Scalar());
    } else if (tag == "!" || tag.ends_with(":str")) {
      out.kind = yaml_kind::text;
      out.text = node.Scalar();
    } else {
      out = plain_scalar(node.Scalar());
      auto const number = number_in(node.Scalar());
      if (tag.ends_with(":float") && number) out.kind = yaml_kind::real, out.number = *number;
      bool const holds = (tag.ends_with(":float") && number) || (tag.ends_with(":int") && out.kind == yaml_kind::integer) ||
                         (tag.ends_with(":bool") && out.kind == yaml_kind::boolean) ||
                         (tag.ends_with(":null") && out.is_null());
      out.line = line;
      if (!holds) throw error(place_of(file_, out) + ": the tag " + in_quotes(tag) + " is not understood here; leave it out");
    }
    out.line = line;
    return out;
  }

  void mapping(YAML::Node const& node, yaml_value& out, int depth) {
    std::vector<yaml_value> merged;
    for (auto const& item : node) {
      yaml_value value = build(item.second, depth + 1);
      if (!item.first.IsScalar()) throw error(place_of(file_, value) + ": a key has to be a text");
      std::string const key = item.first.Scalar();
      if (key == "<<" && item.first.Tag() == "?") {
        take_in(value, merged);
        continue;
      }
      auto const same = std::find_if(out.pairs.begin(), out.pairs.end(), [&](auto const& pair) { return pair.first == key; });
      if (same == out.pairs.end()) {
        out.pairs.push_back({key, std::move(value)});
        continue;
      }
      yaml_value place;
      place.line = item.first.Mark().line + 1;
      notes_.push_back(place_of(file_, place) + ": " + in_quotes(key) + " appears twice; the last one counts");
      same->second = std::move(value);
    }
    for (auto& other : merged)
      for (auto& pair : other.pairs)
        if (std::none_of(out.pairs.begin(), out.pairs.end(), [&](auto const& own) { return own.first == pair.first; }))
          out.pairs.push_back(std::move(pair));
  }

  void take_in(yaml_value& value, std::vector<yaml_value>& merged) const {
    std::string const place = place_of(file_, value);
    if (value.kind == yaml_kind::mapping) return merged.push_back(std::move(value));
    if (value.kind != yaml_kind::list) throw error(place + ": << takes a mapping, or a list of them");
    for (auto& item : value.items) {
      if (item.kind != yaml_kind::mapping) throw error(place + ": << takes a mapping, or a list of them");
      merged.push_back(std::move(item));
    }
  }

  std::filesystem::path const& file_;
  std::vector<std::string>& notes_;
  std::size_t count_ = 0;
};

}  // namespace

yaml_value const& yaml_value::operator[](std::string_view key) const {
  static yaml_value const nothing;
  auto const found = std::find_if(pairs.begin(), pairs.end(), [&](auto const& pair) { return pair.first == key; });
  return found == pairs.end() ? nothing : found->second;
}

std::optional<double> number_in(std::string_view text) {
  auto const is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '_' && (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])))
      return std::nullopt;
  std::string const digits = without_underscores(text);
  std::string_view rest = digits;
  if (rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.empty() || (rest.size() < digits.size() && (rest.front() == '-' || rest.front() == '+'))) return std::nullopt;
  double out = 0;
  auto const [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), out);
  if (end != rest.data() + rest.size() || problem == std::errc::invalid_argument) return std::nullopt;
  if (problem == std::errc::result_out_of_range) {  // too large, or too small to tell from zero: the exponent says which
    bool const small = rest.find("e-") != std::string_view::npos || rest.find("E-") != std::string_view::npos;
    out = small ? 0 : std::numeric_limits<double>::infinity();
    return rest.starts_with('-') ? -out : out;
  }
  return out;
}

yaml_value plain_scalar(std::string_view text) {
  yaml_value out;
  out.text = text;
  if (is_one_of(text, {"", "~", "null", "Null", "NULL"})) return out;
  out.kind = yaml_kind::boolean;
  out.number = 1;
  if (is_one_of(text, {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return out;
  out.number = 0;
  if (is_one_of(text, {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return out;
  bool const negative = text.starts_with('-'), has_sign = negative || text.starts_with('+');
  std::string_view const digits = text.substr(has_sign ? 1 : 0);
  std::optional<double> number = integer_in(digits);
  out.kind = number ? yaml_kind::integer : yaml_kind::real;
  if (!number) number = real_in(digits, has_sign);
  if (is_one_of(digits, {".inf", ".Inf", ".INF"})) number = std::numeric_limits<double>::infinity();
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) number = std::numeric_limits<double>::quiet_NaN();
  if (number)
    out.number = negative ? -*number : *number;
  else
    out.kind = yaml_kind::text;
  return out;
}

std::string place_of(std::filesystem::path const& file, yaml_value const& value) {
  return in_quotes(file.string()) + (value.line > 0 ? ", line " + std::to_string(value.line) : "");
}

yaml_document parse_yaml(std::string const& text, std::filesystem::path const& file) {
  try {
    auto const documents = YAML::LoadAll(text);
    if (documents.size() > 1)
      throw error(in_quotes(file.string()) + " holds " + std::to_string(documents.size()) + " YAML documents; one is read");
    yaml_document out;
    if (!documents.empty()) out.root = builder(file, out.notes).build(documents.front());
    return out;
  } catch (YAML::Exception const& why) {
    std::string const line = why.mark.is_null() ? "" : ", line " + std::to_string(why.mark.line + 1);
    throw error(in_quotes(file.string()) + line + ": not valid YAML: " + why.msg);
  }
}

yaml_document read_yaml(std::filesystem::path const& file) { return parse_yaml(std::string{mapped_file(file).text()}, file); }

yaml_document parse_front_matter(std::string const& markdown, std::filesystem::path const& file) {
  std::istringstream lines(markdown);
  std::string line, yaml;
  auto const is_rule = [&] { return line.starts_with("---") && line.find_first_not_of("- \t\r") == std::string::npos; };
  while (std::getline(lines, line) && line.find_first_not_of(" \t\r") == std::string::npos) continue;
  if (!is_rule()) return {};
  while (std::getline(lines, line) && !is_rule()) yaml += line + '\n';
  return parse_yaml(yaml, file);
}

}  // namespace kedge::llm
