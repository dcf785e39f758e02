// SPDX-License-Identifier: Apache-2.0
#include <cstdio>    // snprintf
#include <cstdlib>   // abs

#include "../unicode.hpp"
#include "evaluator.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

/// [[fill]align][sign][0][width][,][.precision][type], Python's format specification.
struct specification {
  std::string fill = " ";
  char align = '\0', sign = '-', type = '\0';
  bool comma = false;
  std::int64_t width = 0, precision = -1;
};

constexpr std::int64_t widest = 100'000;

std::int64_t take_number(std::string const& s, std::size_t& i) {
  std::int64_t out = 0;
  while (i < s.size() && s[i] >= '0' && s[i] <= '9') {
    out = 10 * out + (s[i++] - '0');
    if (out > widest) throw fault("a format wider than " + std::to_string(widest));
  }
  return out;
}

specification parse_specification(std::string const& s) {
  specification out;
  std::size_t i = 0;
  auto const is_align = [&](std::size_t k) { return k < s.size() && std::string_view("<>^=").find(s[k]) != std::string_view::npos; };
  if (!s.empty() && is_align(length_of(s[0]))) {
    out.fill = s.substr(0, length_of(s[0]));
    i = out.fill.size();
  }
  if (is_align(i)) out.align = s[i++];
  if (i < s.size() && (s[i] == '+' || s[i] == '-' || s[i] == ' ')) out.sign = s[i++];
  if (i < s.size() && s[i] == '0') {
    ++i;
    if (out.align == '\0') {
      out.align = '=';
      out.fill = "0";
    }
  }
  out.width = take_number(s, i);
  if (i < s.size() && s[i] == ',') {
    out.comma = true;
    ++i;
  }
  if (i < s.size() && s[i] == '.') out.precision = take_number(s, ++i);
  if (i < s.size()) out.type = s[i++];
  if (i < s.size()) throw fault("the format specification '" + s + "' is not supported");
  return out;
}

std::string digits_of(value const& v, specification const& spec) {
  if (spec.type == 'd' || ((v.is_integer() || v.is_bool()) && (spec.type == '\0' || spec.type == 'n'))) return std::to_string(v.to_integer("a format"));
  if (spec.type == 'x' || spec.type == 'X' || spec.type == 'o') {
    std::int64_t const i = v.to_integer("a format");
    char buffer[64];
    char const* const form = spec.type == 'x' ? "%s%llx" : spec.type == 'X' ? "%s%llX" : "%s%llo";
    auto const magnitude = i < 0 ? 0ULL - static_cast<unsigned long long>(i) : static_cast<unsigned long long>(i);
    std::snprintf(buffer, sizeof buffer, form, i < 0 ? "-" : "", magnitude);
    return buffer;
  }
  double const d = v.to_double("a format") * (spec.type == '%' ? 100 : 1);
  if (spec.type == '\0' && spec.precision < 0) return float_repr(d);
  int const precision = spec.precision < 0 ? 6 : static_cast<int>(std::min<std::int64_t>(spec.precision, 300));
  char buffer[1024];
  switch (spec.type) {
    case 'f':
    case 'F':
    case '%': std::snprintf(buffer, sizeof buffer, "%.*f", precision, d); break;
    case 'e': std::snprintf(buffer, sizeof buffer, "%.*e", precision, d); break;
    case 'g': std::snprintf(buffer, sizeof buffer, "%.*g", precision, d); break;
    default: throw fault(std::string("the format type '") + spec.type + "' is not supported");
  }
  return std::string(buffer) + (spec.type == '%' ? "%" : "");
}

std::string formatted(evaluator& e, value const& v, specification spec) {
  std::string text;
  if (v.is_number() && spec.type != 's') {
    text = digits_of(v, spec);
    if (spec.comma) {
      std::size_t const whole = text.find_first_not_of("-0123456789");
      std::size_t const first = text[0] == '-' ? 1 : 0;
      for (std::size_t i = (whole == std::string::npos ? text.size() : whole); i > first + 3;) text.insert(i -= 3, ",");
    }
    if (spec.sign != '-' && text[0] != '-') text.insert(0, 1, spec.sign);
    if (spec.align == '\0') spec.align = '>';
  } else {
    if (spec.type != '\0' && spec.type != 's') throw fault(std::string("format type '") + spec.type + "' for " + v.type_name());
    text = e.str(v);
    if (spec.precision >= 0) text = to_utf8(to_utf32(text).substr(0, static_cast<std::size_t>(spec.precision)));
    if (spec.align == '\0') spec.align = '<';
  }
  std::int64_t const missing = std::max<std::int64_t>(0, spec.width - static_cast<std::int64_t>(value(text).length()));
  if (spec.align == '=') {
    std::size_t const sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    return text.substr(0, sign) + repeated(e, spec.fill, missing) + text.substr(sign);
  }
  std::int64_t const left = spec.align == '<' ? 0 : spec.align == '>' ? missing : missing / 2;
  return repeated(e, spec.fill, left) + text + repeated(e, spec.fill, missing - left);
}

}  // namespace

std::string brace_format(evaluator& e, std::string const& format, arguments const& a) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    char const c = format[i];
    if ((c == '{' || c == '}') && i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    if (c == '}') throw fault("Single '}' encountered in format string");
    if (c != '{') {
      out += c;
      continue;
    }
    std::size_t const end = format.find('}', i);
    if (end == std::string::npos) throw fault("expected '}' before end of string");
    std::string field = format.substr(i + 1, end - i - 1);
    i = end;
    if (field.find('{') != std::string::npos) throw fault("a nested format field is not supported");
    std::size_t const colon = field.find(':');
    specification const spec = parse_specification(colon == std::string::npos ? "" : field.substr(colon + 1));
    field = field.substr(0, colon);
    bool as_repr = false;
    if (std::size_t const mark = field.find('!'); mark != std::string::npos) {
      std::string const conversion = field.substr(mark);
      if (conversion != "!s" && conversion != "!r") throw fault("the conversion '" + conversion + "' is not supported");
      as_repr = conversion == "!r";
      field = field.substr(0, mark);
    }
    if (field.find_first_of(".[") != std::string::npos) throw fault("the format field '" + field + "' is not supported");
    bool const numbered = field.find_first_not_of("0123456789") == std::string::npos;
    std::size_t const number = field.empty() ? next++ : numbered && field.size() < 6 ? static_cast<std::size_t>(std::stoi(field)) : a.positional.size();
    value const* const found = numbered ? (number < a.positional.size() ? &a.positional[number] : nullptr) : a.find(a.positional.size(), field);
    if (found == nullptr) throw fault("format: no argument for the field '" + field + "'");
    if (as_repr) e.charge(weight_of(*found));
    out += formatted(e, as_repr ? value(found->repr()) : *found, spec);
    e.check_length(0);
    if (out.size() > evaluator::longest_text) break;
  }
  return e.checked(std::move(out));
}

std::string percent_format(evaluator& e, std::string const& format, value const& argument) {
  std::vector<value> const items = argument.is_tuple() ? argument.as_list() : std::vector<value>{argument};
  std::string out;
  std::size_t next = 0;
  bool named = false;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    if (++i >= format.size()) throw fault("incomplete format");
    if (format[i] == '%') {
      out += '%';
      continue;
    }
    value const* item = nullptr;
    if (format[i] == '(') {
      std::size_t const end = format.find(')', i);
      if (end == std::string::npos || !argument.is_dictionary()) throw fault("format requires a mapping");
      item = argument.as_dictionary().find(format.substr(i + 1, end - i - 1));
      named = true;
      i = end + 1;
    }
    specification spec;
    for (; i < format.size() && std::string_view("-+ 0#").find(format[i]) != std::string_view::npos; ++i) {
      if (format[i] == '-') spec.align = '<';
      if (format[i] == '+' || format[i] == ' ') spec.sign = format[i];
      if (format[i] == '0' && spec.align == '\0') {
        spec.align = '=';
        spec.fill = "0";
      }
    }
    spec.width = take_number(format, i);
    if (i < format.size() && format[i] == '.') spec.precision = take_number(format, ++i);
    if (i >= format.size()) throw fault("incomplete format");
    if (item == nullptr && !named && next < items.size()) item = &items[next++];
    if (item == nullptr) throw fault("not enough arguments for format string");
    char const type = format[i];
    if (spec.align == '\0') spec.align = '>';
    if (type == 's' || type == 'r') {
      spec.type = 's';
      e.charge(weight_of(*item));
      out += formatted(e, type == 's' ? value(item->str()) : value(item->repr()), spec);
    } else if (type == 'd' || type == 'i' || type == 'x' || type == 'X' || type == 'o') {
      spec.type = type == 'i' ? 'd' : type;
      out += formatted(e, item->is_float() ? value(static_cast<std::int64_t>(item->to_double("%"))) : *item, spec);
    } else if (type == 'f' || type == 'F' || type == 'e' || type == 'g') {
      spec.type = type;
      if (spec.precision < 0) spec.precision = 6;
      out += formatted(e, *item, spec);
    } else {
      throw fault(std::string("the format '%") + type + "' is not supported");
    }
    if (out.size() > evaluator::longest_text) break;
  }
  if (!named && next < items.size() && !argument.is_dictionary()) throw fault("not all arguments converted during string formatting");
  return e.checked(std::move(out));
}

}  // namespace kedge::llm::text::jinja
