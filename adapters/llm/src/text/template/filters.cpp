// SPDX-License-Identifier: Apache-2.0
#include <algorithm>      // sort, reverse
#include <charconv>       // from_chars
#include <cmath>          // floor, ceil, pow, abs
#include <unordered_map>  // unordered_map

#include "../unicode.hpp"
#include "evaluator.hpp"
#include "lexer.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

using args = arguments const&;

/// An attribute path "a.b.0" of a value.
value path(evaluator& e, value const& v, value const& attribute) {
  if (attribute.is_integer()) return e.item(v, attribute);
  std::string const& names = attribute.to_string("attribute");
  value out = v;
  for (std::size_t begin = 0; begin <= names.size();) {
    std::size_t const end = std::min(names.find('.', begin), names.size());
    std::string const part = names.substr(begin, end - begin);
    bool const number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos && part.size() < 10;
    out = e.item(out, number ? value(static_cast<std::int64_t>(std::stoi(part))) : value(part));
    begin = end + 1;
  }
  return out;
}

/// What sorting and comparing look at: an attribute if asked for, in lower case unless case matters.
value sort_key(evaluator& e, value const& v, value const& attribute, bool case_sensitive) {
  value const key = attribute.is_none() ? v : path(e, v, attribute);
  e.charge(weight_of(key));
  return !case_sensitive && key.is_string() ? value(to_lower(key.as_string())) : key;
}

/// `out` marked as `input` is.
value like(value const& input, value const& out) { return input.is_markup() ? out.as_markup() : out; }

std::vector<value> elements(evaluator& e, value const& v) {
  auto out = v.elements();
  e.charge(out.size());
  return out;
}

value f_abs(evaluator&, value const& v, args) {
  if (v.is_float()) return std::abs(v.to_double("abs"));
  std::int64_t const i = v.to_integer("abs");
  return i < 0 ? -i : i;
}

value f_attr(evaluator& e, value const& v, args a) {
  std::string const& name = a.need(0, "name", "attr").to_string("attr");
  return v.is_dictionary() ? find_method(v, name) : e.attribute(v, name);
}

value f_batch(evaluator& e, value const& v, args a) {
  std::int64_t const count = a.need(0, "linecount", "batch").to_integer("batch");
  if (count < 1) throw fault("batch needs a positive count");
  std::vector<value> out;
  std::vector<value> group;
  for (value& item : elements(e, v)) {
    if (group.size() == static_cast<std::size_t>(count)) out.push_back(value::of_list(std::exchange(group, {})));
    group.push_back(std::move(item));
  }
  value const* const fill = a.find(1, "fill_with");
  if (!group.empty()) {
    e.charge(static_cast<std::size_t>(count));
    while (fill != nullptr && !fill->is_none() && group.size() < static_cast<std::size_t>(count)) group.push_back(*fill);
    out.push_back(value::of_list(std::move(group)));
  }
  return value::of_list(std::move(out), list_kind::generator);
}

value f_capitalize(evaluator& e, value const& v, args) { return like(v, capitalized(e.str(v))); }

value f_default(evaluator&, value const& v, args a) {
  bool const falsy = a.get(1, "boolean", false).truth();
  return v.is_undefined() || (falsy && !v.truth()) ? a.get(0, "default_value", "") : v;
}

value f_dictsort(evaluator& e, value const& v, args a) {
  if (!v.is_dictionary()) throw fault("dictsort needs a mapping, got " + v.type_name());
  bool const case_sensitive = a.get(0, "case_sensitive", false).truth();
  std::string const by = a.get(1, "by", "key").str();
  bool const reverse = a.get(2, "reverse", false).truth();
  if (by != "key" && by != "value") throw fault("dictsort sorts by 'key' or 'value'");
  auto items = v.as_dictionary().items;
  e.charge(items.size());
  auto const key = [&](auto const& item) { return sort_key(e, by == "key" ? item.first : item.second, nullptr, case_sensitive); };
  std::stable_sort(items.begin(), items.end(), [&](auto const& x, auto const& y) {
    int const order = compare(key(x), key(y));
    return reverse ? order > 0 : order < 0;
  });
  std::vector<value> out;
  for (auto& [k, item] : items) out.push_back(value::of_list({k, item}, list_kind::tuple));
  return value::of_list(std::move(out));
}

value f_first(evaluator& e, value const& v, args) {
  auto const all = elements(e, v);
  return all.empty() ? value(undefined{"No first item, sequence was empty."}) : all.front();
}

value f_last(evaluator& e, value const& v, args) {
  if (v.is_list() && v.kind() == list_kind::generator) throw fault("'generator' object is not reversible");
  auto const all = elements(e, v);
  return all.empty() ? value(undefined{"No last item, sequence was empty."}) : all.back();
}

value f_float(evaluator&, value const& v, args a) {
  if (v.is_number()) return v.to_double("float");
  if (v.is_string())
    if (auto const parsed = parse_float(v.as_string())) return *parsed;
  return a.get(0, "default", 0.0);
}

value f_format(evaluator& e, value const& v, args a) {
  if (v.is_markup()) throw fault("the filter 'format' on a text marked safe is not supported");
  if (!a.named.empty()) throw fault("format with named arguments is not supported");
  return percent_format(e, e.str(v), value::of_list(a.positional, list_kind::tuple));
}

value f_groupby(evaluator& e, value const& v, args a) {
  value const attribute = a.need(0, "attribute", "groupby");
  bool const case_sensitive = a.get(2, "case_sensitive", false).truth();
  auto items = elements(e, v);
  auto const full = [&](value const& x) {
    value key = path(e, x, attribute);
    return key.is_undefined() ? a.get(1, "default", key) : key;
  };
  auto const key = [&](value const& x) { return sort_key(e, full(x), nullptr, case_sensitive); };
  std::stable_sort(items.begin(), items.end(), [&](value const& x, value const& y) { return compare(key(x), key(y)) < 0; });
  std::vector<value> out;
  for (std::size_t i = 0; i < items.size();) {
    std::vector<value> group;
    value const first = key(items[i]);
    value const shown = full(items[i]);
    for (; i < items.size() && equal(key(items[i]), first); ++i) group.push_back(items[i]);
    out.push_back(value::of_list({shown, value::of_list(std::move(group))}, list_kind::group));
  }
  return value::of_list(std::move(out));
}

value f_indent(evaluator& e, value const& v, args a) {
  if (v.is_markup()) throw fault("the filter 'indent' on a text marked safe is not supported");
  value const width = a.get(0, "width", std::int64_t{4});
  bool const first = a.get(1, "first", false).truth();
  bool const blank = a.get(2, "blank", false).truth();
  std::string const prefix = width.is_string() ? width.as_string() : repeated(e, " ", width.to_integer("indent"));
  auto const lines = split_lines(e.str(v) + "\n", false);
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : (blank || !lines[i].empty())) out += prefix;
    out += lines[i];
    e.check_length(out.size());
  }
  return out;
}

value f_int(evaluator&, value const& v, args a) {
  if (v.is_integer() || v.is_bool()) return v.to_integer("int");
  value const otherwise = a.get(0, "default", std::int64_t{0});
  std::int64_t const base = a.get(1, "base", std::int64_t{10}).to_integer("int");
  auto const truncated = [&](double d) { return std::abs(d) < 9e18 ? value(static_cast<std::int64_t>(d)) : otherwise; };
  if (v.is_float()) return truncated(v.to_double("int"));
  if (!v.is_string() || base < 2 || base > 36) return otherwise;
  std::string text = strip(v.as_string(), nullptr, true, true);
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  bool const minus = !text.empty() && text[0] == '-';
  if (minus || (!text.empty() && text[0] == '+')) text.erase(0, 1);
  if (base == 16 && (text.rfind("0x", 0) == 0 || text.rfind("0X", 0) == 0)) text.erase(0, 2);
  std::int64_t number = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, static_cast<int>(base));
  if (problem == std::errc() && end == text.data() + text.size()) return minus ? -number : number;
  auto const parsed = parse_float(v.as_string());
  return parsed ? truncated(*parsed) : otherwise;
}

value f_items(evaluator& e, value const& v, args) {
  if (v.is_undefined()) return value::of_list({}, list_kind::generator);
  if (!v.is_dictionary()) throw fault("Can only get item pairs from a mapping.");
  return value::of_list(e.call(find_method(v, "items"), {}).as_list(), list_kind::generator);
}

value f_join(evaluator& e, value const& v, args a) {
  std::string const separator = a.get(0, "d", "").str();
  value const attribute = a.get(1, "attribute", nullptr);
  std::string out;
  bool first = true;
  for (value const& item : elements(e, v)) {
    if (!first) out += separator;
    first = false;
    out += attribute.is_none() ? e.str(item) : e.str(path(e, item, attribute));
    e.check_length(out.size() / 64 + separator.size());
    if (out.size() > evaluator::longest_text) e.check_length(out.size());
  }
  return e.checked(std::move(out));
}

value f_length(evaluator&, value const& v, args) { return value::of_size(v.length()); }
value f_list(evaluator& e, value const& v, args) { return value::of_list(elements(e, v)); }
value f_lower(evaluator& e, value const& v, args) { return like(v, to_lower(e.str(v))); }
value f_upper(evaluator& e, value const& v, args) { return like(v, to_upper(e.str(v))); }
value f_string(evaluator& e, value const& v, args) { return like(v, e.str(v)); }

arguments without_first(args a) {
  arguments out = a;
  out.positional.erase(out.positional.begin());
  return out;
}

value f_map(evaluator& e, value const& v, args a) {
  std::vector<value> out;
  value const* attribute = nullptr;
  value const* otherwise = nullptr;
  for (auto const& [name, argument] : a.named) {
    if (name == "attribute") attribute = &argument;
    if (name == "default") otherwise = &argument;
  }
  if (a.positional.empty() && attribute == nullptr) throw fault("map requires a filter argument");
  arguments const rest = a.positional.empty() ? arguments{} : without_first(a);
  for (value const& item : v.truth() ? elements(e, v) : std::vector<value>()) {
    value made = a.positional.empty() ? path(e, item, *attribute) : e.filter(a.positional[0].to_string("map"), item, rest);
    if (a.positional.empty() && made.is_undefined() && otherwise != nullptr) made = *otherwise;
    out.push_back(std::move(made));
  }
  return value::of_list(std::move(out), list_kind::generator);
}

/// select, reject, selectattr, rejectattr: keeps what passes a test (or is true).
value choose(evaluator& e, value const& v, args a, bool by_attribute, bool wanted) {
  std::size_t const skip = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) throw fault("selectattr and rejectattr need the name of an attribute");
  arguments rest = a;
  rest.positional.erase(rest.positional.begin(), rest.positional.begin() + static_cast<std::ptrdiff_t>(std::min(skip + 1, a.positional.size())));
  std::vector<value> out;
  for (value& item : v.truth() ? elements(e, v) : std::vector<value>()) {
    value const subject = by_attribute ? path(e, item, a.positional[0]) : item;
    bool const holds = a.positional.size() > skip ? e.test(a.positional[skip].to_string("a test's name"), subject, rest) : subject.truth();
    if (holds == wanted) out.push_back(std::move(item));
  }
  return value::of_list(std::move(out), list_kind::generator);
}
value f_select(evaluator& e, value const& v, args a) { return choose(e, v, a, false, true); }
value f_reject(evaluator& e, value const& v, args a) { return choose(e, v, a, false, false); }
value f_selectattr(evaluator& e, value const& v, args a) { return choose(e, v, a, true, true); }
value f_rejectattr(evaluator& e, value const& v, args a) { return choose(e, v, a, true, false); }

value extreme(evaluator& e, value const& v, args a, int sign) {
  bool const case_sensitive = a.get(0, "case_sensitive", false).truth();
  value const attribute = a.get(1, "attribute", nullptr);
  auto const all = elements(e, v);
  if (all.empty()) return undefined{"No aggregated item, sequence was empty."};
  std::size_t best = 0;
  for (std::size_t i = 1; i < all.size(); ++i)
    if (sign * compare(sort_key(e, all[i], attribute, case_sensitive), sort_key(e, all[best], attribute, case_sensitive)) > 0) best = i;
  return all[best];
}
value f_max(evaluator& e, value const& v, args a) { return extreme(e, v, a, 1); }
value f_min(evaluator& e, value const& v, args a) { return extreme(e, v, a, -1); }

value f_replace(evaluator& e, value const& v, args a) {
  value const count = a.get(2, "count", nullptr);
  return replaced(e, e.str(v), a.need(0, "old", "replace").str(), a.need(1, "new", "replace").str(),
                  count.is_none() ? -1 : count.to_integer("replace"));
}

value f_reverse(evaluator& e, value const& v, args) {
  auto all = elements(e, v);
  std::reverse(all.begin(), all.end());
  if (!v.is_string()) return value::of_list(std::move(all), list_kind::generator);
  std::string out;
  for (value const& c : all) out += c.as_string();
  return out;
}

value f_round(evaluator&, value const& v, args a) {
  std::int64_t const precision = a.get(0, "precision", std::int64_t{0}).to_integer("round");
  std::string const method = a.get(1, "method", "common").str();
  if (method == "common" && precision >= 0 && (v.is_integer() || v.is_bool())) return v.to_integer("round");
  double const d = v.to_double("round");
  if (precision < -300 || precision > 300) throw fault("round: the precision is out of range");
  double const scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(d * scale) / scale;
  if (method == "floor") return std::floor(d * scale) / scale;
  if (method != "common") throw fault("method must be common, ceil or floor");
  if (precision < 0) return std::nearbyint(d * scale) / scale;
  if (precision > 20) return d;
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), d);  // ties as the decimal value says, like Python
  return std::strtod(buffer, nullptr);
}

value f_slice(evaluator& e, value const& v, args a) {
  auto const all = elements(e, v);
  std::int64_t const count = a.need(0, "slices", "slice").to_integer("slice");
  if (count < 1) throw fault("slice needs a positive count");
  e.charge(static_cast<std::size_t>(count));
  auto const slices = static_cast<std::size_t>(count);
  std::size_t const per = all.size() / slices;
  std::size_t const more = all.size() % slices;
  value const* const fill = a.find(1, "fill_with");
  std::vector<value> out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < slices; ++i) {
    std::size_t const n = per + (i < more ? 1 : 0);
    std::vector<value> part(all.begin() + static_cast<std::ptrdiff_t>(at), all.begin() + static_cast<std::ptrdiff_t>(at + n));
    at += n;
    if (fill != nullptr && !fill->is_none() && i >= more) part.push_back(*fill);
    out.push_back(value::of_list(std::move(part)));
  }
  return value::of_list(std::move(out), list_kind::generator);
}

value f_sort(evaluator& e, value const& v, args a) {
  bool const reverse = a.get(0, "reverse", false).truth();
  bool const case_sensitive = a.get(1, "case_sensitive", false).truth();
  value const attribute = a.get(2, "attribute", nullptr);
  if (attribute.is_string() && attribute.as_string().find(',') != std::string::npos) throw fault("sort by several attributes is not supported");
  auto all = elements(e, v);
  std::stable_sort(all.begin(), all.end(), [&](value const& x, value const& y) {
    e.charge(1);
    int const order = compare(sort_key(e, x, attribute, case_sensitive), sort_key(e, y, attribute, case_sensitive));
    return reverse ? order > 0 : order < 0;
  });
  return value::of_list(std::move(all));
}

value f_sum(evaluator& e, value const& v, args a) {
  value const attribute = a.get(0, "attribute", nullptr);
  value out = a.get(1, "start", std::int64_t{0});
  for (value const& item : elements(e, v)) out = binary_operation(e, "+", out, attribute.is_none() ? item : path(e, item, attribute));
  return out;
}

value f_title(evaluator& e, value const& v, args) {
  if (v.is_markup()) throw fault("the filter 'title' on a text marked safe is not supported");
  std::string out;
  bool inside = false;
  for (char32_t const c : to_utf32(e.str(v))) {
    if (inside)
      append_lower(out, c);
    else
      append_upper(out, c);
    inside = !(is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<');
  }
  return out;
}

value f_tojson(evaluator& e, value const& v, args a) {
  a.check("tojson", 4, {"ensure_ascii", "indent", "separators", "sort_keys"});
  json_style style;
  style.ensure_ascii = a.get(0, "ensure_ascii", false).truth();
  value const indent = a.get(1, "indent", nullptr);
  if (!indent.is_none()) {
    style.indented = true;
    style.indent = indent.is_string() ? indent.as_string() : repeated(e, " ", std::min<std::int64_t>(indent.to_integer("indent"), 1000));
    style.item_separator = ",";
  }
  value const separators = a.get(2, "separators", nullptr);
  if (!separators.is_none()) {
    if (separators.length() != 2) throw fault("tojson: 'separators' is not a pair");
    style.item_separator = separators.elements()[0].to_string("separators");
    style.key_separator = separators.elements()[1].to_string("separators");
  }
  style.sort_keys = a.get(3, "sort_keys", false).truth();
  e.charge(weight_of(v));
  return e.checked(to_json(v, style));
}

value f_trim(evaluator& e, value const& v, args a) {
  value const characters = a.get(0, "chars", nullptr);
  return like(v, strip(e.str(v), characters.is_none() ? nullptr : &characters.to_string("trim"), true, true));
}

value f_truncate(evaluator& e, value const& v, args a) {
  if (v.is_markup()) throw fault("the filter 'truncate' on a text marked safe is not supported");
  std::u32string const text = to_utf32(e.str(v));
  auto const length = static_cast<std::size_t>(std::max<std::int64_t>(0, a.get(0, "length", std::int64_t{255}).to_integer("truncate")));
  bool const kill_words = a.get(1, "killwords", false).truth();
  std::u32string const end = to_utf32(a.get(2, "end", "...").str());
  value const leeway = a.get(3, "leeway", nullptr);
  std::size_t const slack = leeway.is_none() ? 5 : static_cast<std::size_t>(std::max<std::int64_t>(0, leeway.to_integer("truncate")));
  if (length < end.size()) throw fault("truncate: the length is below that of the ending");
  if (text.size() <= length + slack) return to_utf8(text);
  std::u32string cut = text.substr(0, length - end.size());
  if (!kill_words)
    if (std::size_t const space = cut.rfind(U' '); space != std::u32string::npos) cut.resize(space);
  return to_utf8(cut + end);
}

value f_unique(evaluator& e, value const& v, args a) {
  bool const case_sensitive = a.get(0, "case_sensitive", false).truth();
  value const attribute = a.get(1, "attribute", nullptr);
  std::vector<value> seen;
  std::vector<value> out;
  for (value& item : elements(e, v)) {
    value key = sort_key(e, item, attribute, case_sensitive);
    e.charge(seen.size() * weight_of(key));
    if (std::any_of(seen.begin(), seen.end(), [&key](value const& other) { return equal(key, other); })) continue;
    seen.push_back(std::move(key));
    out.push_back(std::move(item));
  }
  return value::of_list(std::move(out), list_kind::generator);
}

value f_urlencode(evaluator&, value const& v, args) {
  if (!v.is_string()) throw fault("urlencode of " + v.type_name() + " is not supported");
  std::string out;
  for (char const c : v.as_string()) {
    auto const byte = static_cast<unsigned char>(c);
    bool const plain = byte < 0x80 && (is_word(byte) || c == '.' || c == '-' || c == '~' || c == '/');
    static constexpr std::string_view hex = "0123456789ABCDEF";
    if (plain)
      out += c;
    else
      out += {'%', hex[byte / 16], hex[byte % 16]};
  }
  return out;
}

value f_wordcount(evaluator& e, value const& v, args) {
  std::size_t words = 0;
  bool inside = false;
  for (char32_t const c : to_utf32(e.str(v))) {
    if (is_word(c) && !inside) ++words;
    inside = is_word(c);
  }
  return value::of_size(words);
}

/// Nothing is escaped on output; the mark shows when other text is added.
value f_safe(evaluator& e, value const& v, args) { return value(e.str(v)).as_markup(); }
value f_escape(evaluator& e, value const& v, args) { return v.is_markup() ? v : value(e.checked(escaped(e.str(v)))).as_markup(); }
value f_forceescape(evaluator& e, value const& v, args) { return value(e.checked(escaped(e.str(v)))).as_markup(); }

}  // namespace

filter_function find_filter(std::string_view name) {
  static std::unordered_map<std::string_view, filter_function> const filters = {
      {"abs", f_abs},           {"attr", f_attr},         {"batch", f_batch},           {"capitalize", f_capitalize},
      {"count", f_length},      {"d", f_default},         {"default", f_default},       {"dictsort", f_dictsort},
      {"first", f_first},       {"float", f_float},       {"format", f_format},         {"groupby", f_groupby},
      {"indent", f_indent},     {"int", f_int},           {"items", f_items},           {"join", f_join},
      {"last", f_last},         {"length", f_length},     {"list", f_list},             {"lower", f_lower},
      {"map", f_map},           {"max", f_max},           {"min", f_min},               {"reject", f_reject},
      {"rejectattr", f_rejectattr}, {"replace", f_replace}, {"reverse", f_reverse},     {"round", f_round},
      {"safe", f_safe},         {"escape", f_escape},     {"e", f_escape},
      {"forceescape", f_forceescape},         {"select", f_select},     {"selectattr", f_selectattr}, {"slice", f_slice},
      {"sort", f_sort},         {"string", f_string},     {"sum", f_sum},               {"title", f_title},
      {"tojson", f_tojson},     {"trim", f_trim},         {"truncate", f_truncate},     {"unique", f_unique},
      {"upper", f_upper},       {"urlencode", f_urlencode}, {"wordcount", f_wordcount}};
  auto const found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace kedge::llm::text::jinja
