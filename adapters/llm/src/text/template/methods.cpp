// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // all_of
#include <unordered_map>  // unordered_map

#include "../unicode.hpp"
#include "evaluator.hpp"
#include "lexer.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

using args = arguments const&;
using string_method = value (*)(evaluator&, std::string const&, args);

value strings_to_list(std::vector<std::string> const& parts) {
  std::vector<value> out;
  for (std::string const& part : parts) out.emplace_back(part);
  return value::of_list(std::move(out));
}

/// A slice [start, end) in characters as str.find and startswith take it, in bytes.
std::string_view bounded(std::string const& s, args a, std::size_t first) {
  if (a.positional.size() <= first) return s;
  auto const size = static_cast<std::int64_t>(value(s).length());
  auto const bound = [&](std::size_t i, std::int64_t otherwise) {
    if (i >= a.positional.size() || a.positional[i].is_none()) return otherwise;
    std::int64_t const at = a.positional[i].to_integer("a position");
    return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
  };
  std::int64_t const begin = bound(first, 0);
  std::int64_t const end = std::max(begin, bound(first + 1, size));
  std::size_t byte = 0;
  std::size_t begin_byte = 0;
  for (std::int64_t i = 0; i < end; ++i) {
    if (i == begin) begin_byte = byte;
    byte += length_of(s[byte]);
  }
  if (begin == end) begin_byte = byte;
  return std::string_view(s).substr(begin_byte, byte - begin_byte);
}

bool has_affix(std::string const& s, args a, bool at_end) {
  std::string_view const text = bounded(s, a, 1);
  value const& affix = a.need(0, "affix", at_end ? "endswith" : "startswith");
  auto const one = [&](value const& v) {
    std::string const& part = v.to_string(at_end ? "endswith" : "startswith");
    return at_end ? text.ends_with(part) : text.starts_with(part);
  };
  if (!affix.is_tuple()) return one(affix);
  return std::any_of(affix.as_list().begin(), affix.as_list().end(), one);
}

value s_startswith(evaluator&, std::string const& s, args a) { return has_affix(s, a, false); }
value s_endswith(evaluator&, std::string const& s, args a) { return has_affix(s, a, true); }

value stripped(std::string const& s, args a, bool left, bool right) {
  a.check("strip", 1);
  value const characters = a.get(0, "chars", nullptr);
  return strip(s, characters.is_none() ? nullptr : &characters.to_string("strip"), left, right);
}
value s_strip(evaluator&, std::string const& s, args a) { return stripped(s, a, true, true); }
value s_lstrip(evaluator&, std::string const& s, args a) { return stripped(s, a, true, false); }
value s_rstrip(evaluator&, std::string const& s, args a) { return stripped(s, a, false, true); }

value split_by(evaluator& e, std::string const& s, args a, bool from_right) {
  a.check("split", 2, {"sep", "maxsplit"});
  value const separator = a.get(0, "sep", nullptr);
  std::optional<std::string> text;
  if (!separator.is_none()) text = separator.to_string("split");
  e.charge(s.size() / 4);
  return strings_to_list(split(s, text, a.get(1, "maxsplit", std::int64_t{-1}).to_integer("split"), from_right));
}
value s_split(evaluator& e, std::string const& s, args a) { return split_by(e, s, a, false); }
value s_rsplit(evaluator& e, std::string const& s, args a) { return split_by(e, s, a, true); }
value s_splitlines(evaluator& e, std::string const& s, args a) {
  e.charge(s.size() / 4);
  return strings_to_list(split_lines(s, a.get(0, "keepends", false).truth()));
}

value parted(std::string const& s, args a, bool from_right) {
  std::string const& separator = a.need(0, "sep", "partition").to_string("partition");
  if (separator.empty()) throw fault("empty separator");
  std::size_t const at = from_right ? s.rfind(separator) : find_text(s, separator);
  if (at == std::string::npos)
    return from_right ? value::of_list({"", "", s}, list_kind::tuple) : value::of_list({s, "", ""}, list_kind::tuple);
  return value::of_list({s.substr(0, at), separator, s.substr(at + separator.size())}, list_kind::tuple);
}
value s_partition(evaluator&, std::string const& s, args a) { return parted(s, a, false); }
value s_rpartition(evaluator&, std::string const& s, args a) { return parted(s, a, true); }

value s_lower(evaluator&, std::string const& s, args) { return to_lower(s); }
value s_upper(evaluator&, std::string const& s, args) { return to_upper(s); }
value s_capitalize(evaluator&, std::string const& s, args) { return capitalized(s); }

bool is_cased(char32_t c) {
  category const k = category_of(c);
  return k == category::Lu || k == category::Ll || k == category::Lt;
}

value s_title(evaluator&, std::string const& s, args) {
  std::string out;
  bool inside = false;
  for (char32_t const c : to_utf32(s)) {
    if (inside)
      append_lower(out, c);
    else
      append_upper(out, c);
    inside = is_cased(c);
  }
  return out;
}

value s_swapcase(evaluator&, std::string const& s, args) {
  std::string out;
  for (char32_t const c : to_utf32(s)) {
    if (category_of(c) == category::Lu)
      append_lower(out, c);
    else
      append_upper(out, c);
  }
  return out;
}

value s_replace(evaluator& e, std::string const& s, args a) {
  return replaced(e, s, a.need(0, "old", "replace").to_string("replace"), a.need(1, "new", "replace").to_string("replace"),
                  a.get(2, "count", std::int64_t{-1}).to_integer("replace"));
}

/// Position in characters of `needle`, −1 if it is not there.
std::int64_t position(std::string const& s, args a, bool from_right) {
  std::string_view const text = bounded(s, a, 1);
  std::string const& needle = a.need(0, "sub", "find").to_string("find");
  std::size_t const at = from_right ? text.rfind(needle) : find_text(text, needle);
  if (at == std::string_view::npos) return -1;
  auto const offset = static_cast<std::size_t>(text.data() - s.data());
  return static_cast<std::int64_t>(value(s.substr(0, offset + at)).length());
}
value s_find(evaluator&, std::string const& s, args a) { return position(s, a, false); }
value s_rfind(evaluator&, std::string const& s, args a) { return position(s, a, true); }
value s_index(evaluator&, std::string const& s, args a) {
  std::int64_t const at = position(s, a, false);
  if (at < 0) throw fault("substring not found");
  return at;
}
value s_count(evaluator&, std::string const& s, args a) {
  std::string_view text = bounded(s, a, 1);
  std::string const& needle = a.need(0, "sub", "count").to_string("count");
  if (needle.empty()) return value::of_size(value(std::string(text)).length() + 1);
  std::size_t n = 0;
  for (std::size_t at = find_text(text, needle); at != std::string_view::npos; at = find_text(text, needle, at + needle.size())) ++n;
  return value::of_size(n);
}

value s_join(evaluator& e, std::string const& s, args a) {
  std::string out;
  bool first = true;
  for (value const& item : a.need(0, "iterable", "join").elements()) {
    if (!first) out += s;
    first = false;
    out += item.to_string("join");
    if (out.size() > evaluator::longest_text) break;
  }
  return e.checked(std::move(out));
}

value s_format(evaluator& e, std::string const& s, args a) { return brace_format(e, s, a); }

value padded(evaluator& e, std::string const& s, args a, int side) {
  std::int64_t const width = a.need(0, "width", "padding").to_integer("padding");
  std::string const fill = a.get(1, "fillchar", " ").to_string("padding");
  std::int64_t const missing = width - static_cast<std::int64_t>(value(s).length());
  if (missing <= 0) return s;
  std::int64_t const left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  return repeated(e, fill, left) + s + repeated(e, fill, missing - left);
}
value s_ljust(evaluator& e, std::string const& s, args a) { return padded(e, s, a, -1); }
value s_rjust(evaluator& e, std::string const& s, args a) { return padded(e, s, a, 1); }
value s_center(evaluator& e, std::string const& s, args a) { return padded(e, s, a, 0); }
value s_zfill(evaluator& e, std::string const& s, args a) {
  std::int64_t const missing = a.need(0, "width", "zfill").to_integer("zfill") - static_cast<std::int64_t>(value(s).length());
  std::size_t const sign = !s.empty() && (s[0] == '+' || s[0] == '-') ? 1 : 0;
  return s.substr(0, sign) + repeated(e, "0", missing) + s.substr(sign);
}

value s_removeprefix(evaluator&, std::string const& s, args a) {
  std::string const& part = a.need(0, "prefix", "removeprefix").to_string("removeprefix");
  return s.starts_with(part) ? s.substr(part.size()) : s;
}
value s_removesuffix(evaluator&, std::string const& s, args a) {
  std::string const& part = a.need(0, "suffix", "removesuffix").to_string("removesuffix");
  return !part.empty() && s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s;
}

template <class Predicate>
bool all_characters(std::string const& s, Predicate holds) {
  std::u32string const text = to_utf32(s);
  return !text.empty() && std::all_of(text.begin(), text.end(), holds);
}
bool is_letter(char32_t c) {
  category const k = category_of(c);
  return k >= category::Lu && k <= category::Lo;
}
bool is_decimal(char32_t c) { return category_of(c) == category::Nd; }
value s_isalpha(evaluator&, std::string const& s, args) { return all_characters(s, is_letter); }
value s_isdigit(evaluator&, std::string const& s, args) { return all_characters(s, is_decimal); }
value s_isnumeric(evaluator&, std::string const& s, args) { return all_characters(s, is_numeric); }
value s_isalnum(evaluator&, std::string const& s, args) {
  return all_characters(s, [](char32_t c) { return is_letter(c) || is_numeric(c); });
}
value s_isspace(evaluator&, std::string const& s, args) { return all_characters(s, is_python_space); }
value s_islower(evaluator&, std::string const& s, args) { return s == to_lower(s) && s != to_upper(s); }
value s_isupper(evaluator&, std::string const& s, args) { return s == to_upper(s) && s != to_lower(s); }

std::unordered_map<std::string_view, string_method> const& string_methods() {
  static std::unordered_map<std::string_view, string_method> const methods = {
      {"startswith", s_startswith}, {"endswith", s_endswith},   {"strip", s_strip},         {"lstrip", s_lstrip},
      {"rstrip", s_rstrip},         {"split", s_split},         {"rsplit", s_rsplit},       {"splitlines", s_splitlines},
      {"partition", s_partition},   {"rpartition", s_rpartition}, {"lower", s_lower},       {"casefold", s_lower},
      {"upper", s_upper},           {"capitalize", s_capitalize}, {"title", s_title},       {"swapcase", s_swapcase},
      {"replace", s_replace},       {"find", s_find},           {"rfind", s_rfind},         {"index", s_index},
      {"count", s_count},           {"join", s_join},           {"format", s_format},       {"ljust", s_ljust},
      {"rjust", s_rjust},           {"center", s_center},       {"zfill", s_zfill},         {"removeprefix", s_removeprefix},
      {"removesuffix", s_removesuffix}, {"isalpha", s_isalpha}, {"isdigit", s_isdigit},     {"isdecimal", s_isdigit},
      {"isnumeric", s_isnumeric},   {"isalnum", s_isalnum},     {"isspace", s_isspace},     {"islower", s_islower},
      {"isupper", s_isupper}};
  return methods;
}

/// A method goes through its text once; a search from the right may try a long needle at every place.
void charge_method(evaluator& e, std::string const& text, args a) {
  std::size_t const needle = !a.positional.empty() && a.positional[0].is_string() ? a.positional[0].as_string().size() : 0;
  e.charge(text.size() / 16 * (1 + needle / 64) + needle / 16);
}

value dictionary_method(value const& of, std::string const& name) {
  int const held = depth_of(of);
  if (name == "items")
    return make_builtin(name, [of](evaluator& e, args a) {
      a.check("items", 0);
      std::vector<value> out;
      e.charge(of.length());
      for (auto const& [key, v] : of.as_dictionary().items) out.push_back(value::of_list({key, v}, list_kind::tuple));
      return value::of_list(std::move(out), list_kind::view);
    }, held);
  if (name == "keys" || name == "values")
    return make_builtin(name, [of, keys = name == "keys"](evaluator& e, args a) {
      a.check("keys and values", 0);
      std::vector<value> out;
      e.charge(of.length());
      for (auto const& [key, v] : of.as_dictionary().items) out.push_back(keys ? key : v);
      return value::of_list(std::move(out), list_kind::view);
    }, held);
  if (name == "get")
    return make_builtin(name, [of](evaluator& e, args a) {
      a.check("get", 2);
      e.charge(of.length() / 8);
      value const* const found = of.as_dictionary().find(a.need(0, "key", "get"));
      return found != nullptr ? *found : a.get(1, "default", nullptr);
    }, held);
  if (name == "copy") return make_builtin(name, [of](evaluator& e, args) {
      e.charge(of.length());
      return value(std::make_shared<dictionary>(of.as_dictionary()));
    }, held);
  return {};
}

value list_method(value const& of, std::string const& name) {
  int const held = depth_of(of);
  if (name == "index")
    return make_builtin(name, [of](evaluator& e, args a) {
      e.charge(of.length() + weight_of(a.need(0, "value", "index")) * of.length());
      auto const& items = of.as_list();
      for (std::size_t i = 0; i < items.size(); ++i)
        if (equal(items[i], a.need(0, "value", "index"))) return value::of_size(i);
      throw fault("the value is not in the list");
    }, held);
  if (name == "count")
    return make_builtin(name, [of](evaluator& e, args a) {
      value const& wanted = a.need(0, "value", "count");
      e.charge(weight_of(wanted) * of.length());
      return value::of_size(static_cast<std::size_t>(
          std::count_if(of.as_list().begin(), of.as_list().end(), [&wanted](value const& v) { return equal(v, wanted); })));
    }, held);
  if (name == "copy" && of.kind() == list_kind::list) return make_builtin(name, [of](evaluator& e, args) {
      e.charge(of.length());
      return value::of_list(of.as_list());
    }, held);
  return {};
}

bool changes(value const& of, std::string_view name) {
  static constexpr std::string_view of_lists[] = {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear"};
  static constexpr std::string_view of_dictionaries[] = {"clear", "pop", "popitem", "setdefault", "update"};
  auto const among = [name](auto const& names) { return std::find(std::begin(names), std::end(names), name) != std::end(names); };
  return of.is_dictionary() ? among(of_dictionaries) : of.is_list() && of.kind() == list_kind::list && among(of_lists);
}

}  // namespace

value find_method(value const& of, std::string const& name) {
  if (of.is_string()) {
    auto const found = string_methods().find(name);
    if (found == string_methods().end()) return {};
    if (!of.is_markup())
      return make_builtin(name, [text = of, run = found->second](evaluator& e, args a) {
        charge_method(e, text.as_string(), a);
        return run(e, text.as_string(), a);
      });
    for (std::string_view const escapes : {"replace", "join", "format", "ljust", "rjust", "center"})
      if (name == escapes) throw fault("the method '" + name + "' on a text marked safe is not supported");
    return make_builtin(name, [text = of, run = found->second](evaluator& e, args a) {
      charge_method(e, text.as_string(), a);
      value const out = run(e, text.as_string(), a);
      if (!out.is_list()) return out.as_markup();
      std::vector<value> items;
      for (value const& v : out.as_list()) items.push_back(v.as_markup());
      return value::of_list(std::move(items), out.kind());
    });
  }
  if (changes(of, name))
    return make_builtin(name, [name, type = of.type_name()](evaluator&, args) -> value {
      throw fault("access to attribute '" + name + "' of '" + type + "' object is unsafe: a template must not change its input");
    });
  if (of.is_dictionary()) return dictionary_method(of, name);
  if (of.is_list() && of.kind() == list_kind::group && (name == "grouper" || name == "list")) return of.as_list()[name == "grouper" ? 0 : 1];
  if (of.is_indexed()) return list_method(of, name);
  return {};
}

}  // namespace kedge::llm::text::jinja
