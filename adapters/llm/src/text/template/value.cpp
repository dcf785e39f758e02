// SPDX-License-Identifier: Apache-2.0
#include "value.hpp"

#include <algorithm>     // any_of
#include <charconv>      // to_chars
#include <cmath>         // isnan, isinf
#include <utility>       // exchange

#include "../unicode.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

constexpr int deepest_value = 200;

struct depth_guard {
  explicit depth_guard(int& d) : depth(d) {
    if (++depth > deepest_value) throw fault("a value nested deeper than " + std::to_string(deepest_value));
  }
  depth_guard(depth_guard const&) = delete;
  depth_guard& operator=(depth_guard const&) = delete;
  ~depth_guard() { --depth; }
  int& depth;
};

void append_hex(std::string& out, char32_t c, int digits) {
  static constexpr std::string_view hex = "0123456789abcdef";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += hex[(c >> static_cast<unsigned>(shift)) & 15U];
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  category const k = category_of(c);
  return k != category::Cn && k != category::Cc && k != category::Cf && k != category::Co && k != category::Zs && k != category::Zl &&
         k != category::Zp;
}

std::string string_repr(std::string const& s) {
  char const quote = s.find('\'') != std::string::npos && s.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t i = 0; i < s.size();) {
    auto const [c, length] = decode(s.data() + i);
    i += length;
    if (c == '\\' || c == static_cast<unsigned char>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append(out, c);
    } else {
      out += c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
      append_hex(out, c, c < 0x100 ? 2 : c < 0x10000 ? 4 : 8);
    }
  }
  return out + quote;
}

void json_string(std::string& out, std::string const& s, bool ascii) {
  out += '"';
  for (std::size_t i = 0; i < s.size();) {
    auto const [c, length] = decode(s.data() + i);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c < 0x20 || (ascii && c > 0x7E)) {
          char32_t const unit = c >= 0x10000 ? 0xD800 + ((c - 0x10000) >> 10U) : c;
          out += "\\u";
          append_hex(out, unit, 4);
          if (c >= 0x10000) {
            out += "\\u";
            append_hex(out, 0xDC00 + ((c - 0x10000) & 0x3FFU), 4);
          }
        } else {
          out.append(s, i, length);
        }
    }
    i += length;
  }
  out += '"';
}

class json_writer {
 public:
  explicit json_writer(json_style const& style) : style_(style) {}
  std::string out;

  void write(value const& v) {
    depth_guard const guard(depth_);
    if (v.is_none()) {
      out += "null";
    } else if (v.is_bool()) {
      out += v.as_bool() ? "true" : "false";
    } else if (v.is_float()) {
      double const d = v.to_double("tojson");
      out += std::isnan(d) ? "NaN" : std::isinf(d) ? (d > 0 ? "Infinity" : "-Infinity") : float_repr(d);
    } else if (v.is_integer()) {
      out += v.str();
    } else if (v.is_string()) {
      json_string(out, v.as_string(), style_.ensure_ascii);
    } else if (v.is_list() && (v.kind() == list_kind::list || v.is_tuple())) {
      write_list(v.as_list());
    } else if (v.is_dictionary()) {
      write_dictionary(v.as_dictionary());
    } else {
      throw fault("Object of type " + v.type_name() + " is not JSON serializable");
    }
  }

 private:
  void line(int depth) {
    if (!style_.indented) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += style_.indent;
  }

  void write_list(std::vector<value> const& items) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(depth_);
      write(items[i]);
    }
    line(depth_ - 1);
    out += ']';
  }

  static std::string key_of(value const& key) {
    if (key.is_string()) return key.as_string();
    if (key.is_bool()) return key.as_bool() ? "true" : "false";
    if (key.is_none()) return "null";
    if (key.is_number()) return key.str();
    throw fault("keys must be str, int, float, bool or None, not " + key.type_name());
  }

  void write_dictionary(dictionary const& d) {
    if (d.items.empty()) {
      out += "{}";
      return;
    }
    auto items = d.items;
    if (style_.sort_keys)
      std::stable_sort(items.begin(), items.end(), [](auto const& a, auto const& b) { return compare(a.first, b.first) < 0; });
    out += '{';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      line(depth_);
      json_string(out, key_of(items[i].first), style_.ensure_ascii);
      out += style_.key_separator;
      write(items[i].second);
    }
    line(depth_ - 1);
    out += '}';
  }

  json_style const& style_;
  int depth_ = 0;
};

std::string join_reprs(std::vector<value> const& items) {
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) out += (i > 0 ? ", " : "") + items[i].repr();
  return out;
}

}  // namespace

value const* arguments::find(std::size_t i, std::string_view name) const {
  if (i < positional.size()) return &positional[i];
  for (auto const& [key, v] : named)
    if (key == name) return &v;
  return nullptr;
}

value arguments::get(std::size_t i, std::string_view name, value otherwise) const {
  value const* const found = find(i, name);
  return found == nullptr ? std::move(otherwise) : *found;
}

value const& arguments::need(std::size_t i, std::string_view name, std::string_view who) const {
  value const* const found = find(i, name);
  if (found == nullptr) throw fault(std::string(who) + " lacks the argument '" + std::string(name) + "'");
  return *found;
}

void arguments::check(std::string_view who, std::size_t most, std::initializer_list<std::string_view> names) const {
  if (positional.size() > most)
    throw fault(std::string(who) + " takes at most " + std::to_string(most) + " arguments, got " + std::to_string(positional.size()));
  for (auto const& [key, v] : named)
    if (std::find(names.begin(), names.end(), key) == names.end())
      throw fault(std::string(who) + " has no argument '" + key + "'");
}

value object::attribute(std::string const&) const { return {}; }
value object::call(evaluator&, arguments const&) { throw fault("'" + std::string(kind()) + "' object is not callable"); }

int deeper(int inner) {
  if (inner >= deepest_value) throw fault("a value nested deeper than " + std::to_string(deepest_value));
  return inner + 1;
}

int depth_of(value const& v) {
  if (v.is_list()) return v.list_object().depth;
  if (v.is_dictionary()) return v.as_dictionary().depth;
  return v.is_object() ? deeper(v.as_object().depth()) : 0;
}

std::size_t weight_of(value const& v) {
  if (v.is_list()) return v.list_object().weight;
  if (v.is_dictionary()) return v.as_dictionary().weight;
  return v.is_string() ? 1 + v.as_string().size() / 16 : 1;
}

namespace {

/// A sum that stays where it is once it is beyond any budget.
void add_weight(std::size_t& total, std::size_t more) { total = std::min<std::size_t>(total + more, std::size_t{1} << 40U); }

}  // namespace

value const* dictionary::find(value const& key) const {
  for (auto const& [k, v] : items)
    if (equal(k, key)) return &v;
  return nullptr;
}

void dictionary::set(value key, value v) {
  depth = std::max(depth, deeper(depth_of(v)));
  add_weight(weight, 1 + weight_of(v));
  for (auto& [k, old] : items) {
    if (!equal(k, key)) continue;
    old = std::move(v);
    return;
  }
  items.emplace_back(std::move(key), std::move(v));
}

value value::of_list(std::vector<value> items, list_kind kind) {
  auto out = std::make_shared<list>();
  int inner = 0;
  for (value const& v : items) {
    inner = std::max(inner, depth_of(v));
    add_weight(out->weight, weight_of(v));
  }
  out->depth = deeper(inner);
  out->items = std::move(items);
  out->kind = kind;
  return out;
}

std::int64_t value::to_integer(std::string_view who) const {
  if (is_integer()) return std::get<std::int64_t>(data_);
  if (is_bool()) return as_bool() ? 1 : 0;
  throw fault(std::string(who) + " needs an integer, got " + type_name());
}

double value::to_double(std::string_view who) const {
  if (is_float()) return std::get<double>(data_);
  if (is_integer() || is_bool()) return static_cast<double>(to_integer(who));
  throw fault(std::string(who) + " needs a number, got " + type_name());
}

std::string const& value::to_string(std::string_view who) const {
  if (!is_string()) throw fault(std::string(who) + " needs a string, got " + type_name());
  return as_string();
}

bool value::truth() const {
  if (is_bool()) return as_bool();
  if (is_integer()) return std::get<std::int64_t>(data_) != 0;
  if (is_float()) return std::get<double>(data_) != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return kind() == list_kind::generator || !as_list().empty();
  if (is_dictionary()) return !as_dictionary().items.empty();
  return is_object();
}

std::string value::str() const {
  if (is_string()) return as_string();
  if (is_undefined()) return "";
  return repr();
}

std::string value::repr() const {
  static thread_local int depth = 0;
  depth_guard const guard(depth);
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return as_bool() ? "True" : "False";
  if (is_integer()) return std::to_string(std::get<std::int64_t>(data_));
  if (is_float()) return float_repr(std::get<double>(data_));
  if (is_string()) return string_repr(as_string());
  if (is_list()) {
    std::string const inner = join_reprs(as_list());
    switch (kind()) {
      case list_kind::list: return "[" + inner + "]";
      case list_kind::group:
      case list_kind::tuple: return as_list().size() == 1 ? "(" + inner + ",)" : "(" + inner + ")";
      case list_kind::view: throw fault("a dictionary's items, keys or values have no text; use the filter 'list'");
      case list_kind::generator: throw fault("a generator has no text; use the filter 'list' or 'join'");
      case list_kind::range: throw fault("a range has no text; use the filter 'list'");
    }
  }
  if (is_dictionary()) {
    std::string out = "{";
    for (auto const& [key, v] : as_dictionary().items) out += (out.size() > 1 ? ", " : "") + key.repr() + ": " + v.repr();
    return out + "}";
  }
  throw fault("a " + std::string(as_object().kind()) + " has no text; use one of its attributes");
}

std::string value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) {
    static constexpr char const* names[] = {"list", "tuple", "generator", "dict_items", "range", "_GroupTuple"};
    return names[static_cast<std::size_t>(kind())];
  }
  if (is_dictionary()) return "dict";
  return std::string(as_object().kind());
}

bool value::same_as(value const& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list()) return std::get<std::shared_ptr<list>>(data_) == std::get<std::shared_ptr<list>>(other.data_);
  if (is_dictionary()) return std::get<std::shared_ptr<dictionary>>(data_) == std::get<std::shared_ptr<dictionary>>(other.data_);
  if (is_object()) return object_pointer() == other.object_pointer();
  return equal(*this, other);
}

std::vector<value> value::elements() const {
  std::vector<value> out;
  if (is_list()) {
    list& all = *std::get<std::shared_ptr<list>>(data_);
    if (all.kind == list_kind::generator && std::exchange(all.used, true)) return out;
    return all.items;
  }
  if (is_undefined()) return out;
  if (is_dictionary()) {
    for (auto const& [key, v] : as_dictionary().items) out.push_back(key);
    return out;
  }
  if (is_string()) {
    std::string const& s = as_string();
    for (std::size_t i = 0; i < s.size(); i += length_of(s[i])) out.emplace_back(s.substr(i, length_of(s[i])));
    return out;
  }
  throw fault("'" + type_name() + "' object is not iterable");
}

std::size_t value::as_dictionary_size() const { return as_dictionary().items.size(); }

std::size_t value::length() const {
  if (is_list() && kind() != list_kind::generator) return as_list().size();
  if (is_dictionary()) return as_dictionary().items.size();
  if (is_undefined()) return 0;
  if (is_string()) return count_characters(as_string());
  throw fault("object of type '" + type_name() + "' has no len()");
}

bool equal(value const& a, value const& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.to_double("==") == b.to_double("==");
    return a.to_integer("==") == b.to_integer("==");
  }
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_list() && b.is_list() && a.kind() == list_kind::generator) return a.same_as(b);
  if (a.is_list() && b.is_list())
    return (a.kind() == b.kind() || (a.is_tuple() && b.is_tuple())) && a.as_list().size() == b.as_list().size() &&
           std::equal(a.as_list().begin(), a.as_list().end(), b.as_list().begin(), equal);
  if (a.is_dictionary() && b.is_dictionary()) {
    if (a.length() != b.length()) return false;
    return std::all_of(a.as_dictionary().items.begin(), a.as_dictionary().items.end(), [&b](auto const& item) {
      value const* const other = b.as_dictionary().find(item.first);
      return other != nullptr && equal(item.second, *other);
    });
  }
  return a.is_object() && b.is_object() && a.object_pointer() == b.object_pointer();
}

int compare(value const& a, value const& b) {
  auto const sign = [](auto const& x, auto const& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return sign(a.to_double("<"), b.to_double("<"));
    return sign(a.to_integer("<"), b.to_integer("<"));
  }
  if (a.is_string() && b.is_string()) return sign(a.as_string(), b.as_string());  // UTF-8 sorts as its code points do
  if (a.is_list() && b.is_list() && a.kind() == b.kind() && (a.is_tuple() || a.kind() == list_kind::list)) {
    for (std::size_t i = 0; i < a.as_list().size() && i < b.as_list().size(); ++i)
      if (!equal(a.as_list()[i], b.as_list()[i])) return compare(a.as_list()[i], b.as_list()[i]);
    return sign(a.as_list().size(), b.as_list().size());
  }
  throw fault("no order between " + a.type_name() + " and " + b.type_name());
}

bool contains(value const& haystack, value const& needle) {
  if (haystack.is_string()) return find_text(haystack.as_string(), needle.to_string("'in <string>'")) != std::string::npos;
  if (haystack.is_dictionary()) return haystack.as_dictionary().find(needle) != nullptr;
  if (haystack.is_list() || haystack.is_undefined()) {
    auto const elements = haystack.elements();
    return std::any_of(elements.begin(), elements.end(), [&needle](value const& v) { return equal(v, needle); });
  }
  throw fault("argument of type '" + haystack.type_name() + "' is not iterable");
}

value from_json(nlohmann::ordered_json const& j) {
  static thread_local int depth = 0;
  depth_guard const guard(depth);
  switch (j.type()) {
    case nlohmann::ordered_json::value_t::boolean: return j.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer: return j.get<std::int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned: {
      auto const n = j.get<std::uint64_t>();
      if (n > static_cast<std::uint64_t>(INT64_MAX)) throw fault("the integer " + std::to_string(n) + " is too large");
      return static_cast<std::int64_t>(n);
    }
    case nlohmann::ordered_json::value_t::number_float: return j.get<double>();
    case nlohmann::ordered_json::value_t::string: {
      auto const& s = j.get_ref<std::string const&>();
      if (find_invalid(s) != std::string::npos) throw fault("a string that is not valid UTF-8");
      return s;
    }
    case nlohmann::ordered_json::value_t::array: {
      std::vector<value> items;
      for (auto const& item : j) items.push_back(from_json(item));
      return value::of_list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      auto out = std::make_shared<dictionary>();
      for (auto const& [key, item] : j.items()) {
        out->items.emplace_back(key, from_json(item));
        out->depth = std::max(out->depth, deeper(depth_of(out->items.back().second)));
        add_weight(out->weight, 1 + weight_of(out->items.back().second));
      }
      return out;
    }
    case nlohmann::ordered_json::value_t::null:
    case nlohmann::ordered_json::value_t::binary:
    case nlohmann::ordered_json::value_t::discarded: break;
  }
  return nullptr;
}

std::string to_json(value const& v, json_style const& style) {
  json_writer writer(style);
  writer.write(v);
  return std::move(writer.out);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (char const c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  if (d == 0) return std::signbit(d) ? "-0.0" : "0.0";
  char buffer[64];
  auto const end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  std::string const text(buffer, end);
  std::size_t const e = text.find('e');
  int const exponent = std::stoi(text.substr(e + 1));
  std::string digits;
  for (char const c : text.substr(0, e))
    if (c >= '0' && c <= '9') digits += c;
  std::string out = d < 0 ? "-" : "";
  auto const n = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (n > 1) out += "." + digits.substr(1);
    std::string const magnitude = std::to_string(std::abs(exponent));
    return out + (exponent < 0 ? "e-" : "e+") + (magnitude.size() < 2 ? "0" : "") + magnitude;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  auto const whole = static_cast<std::size_t>(exponent + 1);
  if (n <= exponent + 1) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace kedge::llm::text::jinja
