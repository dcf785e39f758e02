// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>       // size_t, nullptr_t
#include <cstdint>       // int64_t
#include <functional>    // function
#include <memory>        // shared_ptr
#include <stdexcept>     // runtime_error
#include <string>        // string
#include <string_view>   // string_view
#include <utility>       // pair
#include <variant>       // variant
#include <vector>        // vector

#include <nlohmann/json.hpp>

namespace kedge::llm::text::jinja {

/// A rule of the language broken while rendering; the evaluator adds the line.
class fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class value;
class evaluator;

/// Arguments of a call, filter or test.
struct arguments {
  std::vector<value> positional;
  std::vector<std::pair<std::string, value>> named;

  /// Argument number `i`, or named so; null if absent.
  [[nodiscard]] value const* find(std::size_t i, std::string_view name) const;
  [[nodiscard]] value get(std::size_t i, std::string_view name, value otherwise) const;
  /// throws  fault if `i` and `name` are both absent
  [[nodiscard]] value const& need(std::size_t i, std::string_view name, std::string_view who) const;
  /// throws  fault on arguments beyond the first `most` or with names other than `names`
  void check(std::string_view who, std::size_t most, std::initializer_list<std::string_view> names = {}) const;
};

/// A thing with attributes that may be callable: loop, namespace, macro, function, method.
class object {
 public:
  object() = default;
  object(object const&) = delete;
  object& operator=(object const&) = delete;
  virtual ~object() = default;
  [[nodiscard]] virtual std::string_view kind() const = 0;
  /// Undefined if there is no such attribute.
  [[nodiscard]] virtual value attribute(std::string const& name) const;
  [[nodiscard]] virtual bool callable() const { return false; }
  virtual value call(evaluator& e, arguments const& a);
  /// How deep the values that it holds are nested.
  [[nodiscard]] virtual int depth() const { return 0; }
};

struct undefined {
  std::string what;  ///< how the template spelled it
};

/// What Python makes of it: a generator is empty after its first use; a view (dict.items() and such) has no indices; a
/// group (of groupby) is a tuple with the attributes grouper and list.
enum class list_kind { list, tuple, generator, view, range, group };

struct list {
  std::vector<value> items;
  list_kind kind = list_kind::list;
  bool used = false;  ///< a generator that was looped over
  int depth = 1;
  std::size_t weight = 1;
};

struct dictionary {
  std::vector<std::pair<value, value>> items;  ///< in order of insertion, keys distinct
  int depth = 1;
  std::size_t weight = 1;
  [[nodiscard]] value const* find(value const& key) const;
  void set(value key, value v);
};

/// A value of the template language, with Python's meaning of truth, equality, order, str and repr.
class value {
 public:
  using text = std::shared_ptr<std::string const>;

  value() : data_(undefined{}) {}
  value(undefined u) : data_(std::move(u)) {}
  value(std::nullptr_t) : data_(nullptr) {}
  value(bool b) : data_(b) {}
  value(std::int64_t i) : data_(i) {}
  value(double d) : data_(d) {}
  value(std::string s) : data_(std::make_shared<std::string const>(std::move(s))) {}
  value(std::string_view s) : value(std::string(s)) {}
  value(char const* s) : value(std::string(s)) {}
  value(std::shared_ptr<list> l) : data_(std::move(l)) {}
  value(std::shared_ptr<dictionary> d) : data_(std::move(d)) {}
  value(std::shared_ptr<object> o) : data_(std::move(o)) {}
  static value of_list(std::vector<value> items, list_kind kind = list_kind::list);
  static value of_size(std::size_t n) { return static_cast<std::int64_t>(n); }

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<std::nullptr_t>(data_); }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(data_); }
  [[nodiscard]] bool is_integer() const { return std::holds_alternative<std::int64_t>(data_); }
  [[nodiscard]] bool is_float() const { return std::holds_alternative<double>(data_); }
  [[nodiscard]] bool is_number() const { return is_integer() || is_float() || is_bool(); }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<text>(data_); }
  [[nodiscard]] bool is_list() const { return std::holds_alternative<std::shared_ptr<list>>(data_); }
  [[nodiscard]] bool is_dictionary() const { return std::holds_alternative<std::shared_ptr<dictionary>>(data_); }
  [[nodiscard]] bool is_object() const { return std::holds_alternative<std::shared_ptr<object>>(data_); }

  /// A string marked safe from escaping (by `safe` or `escape`): what is added to it gets escaped, as markupsafe does.
  [[nodiscard]] bool is_markup() const { return is_string() && markup_; }
  [[nodiscard]] value as_markup() const {
    value out = *this;
    out.markup_ = is_string();
    return out;
  }

  [[nodiscard]] bool as_bool() const { return std::get<bool>(data_); }
  [[nodiscard]] std::string const& as_string() const { return *std::get<text>(data_); }
  [[nodiscard]] std::vector<value> const& as_list() const { return std::get<std::shared_ptr<list>>(data_)->items; }
  [[nodiscard]] list const& list_object() const { return *std::get<std::shared_ptr<list>>(data_); }
  /// The kind of a list.
  [[nodiscard]] list_kind kind() const { return std::get<std::shared_ptr<list>>(data_)->kind; }
  [[nodiscard]] bool is_tuple() const { return is_list() && (kind() == list_kind::tuple || kind() == list_kind::group); }
  /// A list, tuple or range: something with indices.
  [[nodiscard]] bool is_indexed() const { return is_list() && kind() != list_kind::generator && kind() != list_kind::view; }
  [[nodiscard]] dictionary const& as_dictionary() const { return *std::get<std::shared_ptr<dictionary>>(data_); }
  [[nodiscard]] object& as_object() const { return *std::get<std::shared_ptr<object>>(data_); }
  [[nodiscard]] std::shared_ptr<object> const& object_pointer() const { return std::get<std::shared_ptr<object>>(data_); }
  [[nodiscard]] undefined const& as_undefined() const { return std::get<undefined>(data_); }

  /// Integers and booleans as an integer. throws fault for anything else
  [[nodiscard]] std::int64_t to_integer(std::string_view who) const;
  /// Any number. throws fault for anything else
  [[nodiscard]] double to_double(std::string_view who) const;
  /// throws fault unless it is a string
  [[nodiscard]] std::string const& to_string(std::string_view who) const;

  [[nodiscard]] bool truth() const;
  [[nodiscard]] std::string str() const;
  [[nodiscard]] std::string repr() const;
  /// Python's name of the type, for messages.
  [[nodiscard]] std::string type_name() const;
  /// Same object, not just equal.
  [[nodiscard]] bool same_as(value const& other) const;

  /// The elements that a loop sees: items, keys, characters. throws fault if it has none
  [[nodiscard]] std::vector<value> elements() const;
  /// Elements of a list of any kind or a dictionary.
  [[nodiscard]] std::size_t length_of_any() const { return is_list() ? as_list().size() : as_dictionary_size(); }
  /// Length as Python's len. throws fault if it has none
  [[nodiscard]] std::size_t length() const;

 private:
  [[nodiscard]] std::size_t as_dictionary_size() const;
  std::variant<undefined, std::nullptr_t, bool, std::int64_t, double, text, std::shared_ptr<list>, std::shared_ptr<dictionary>,
               std::shared_ptr<object>>
      data_;
  bool markup_ = false;
};

/// Levels of lists, dictionaries and objects in `v`, 0 for a scalar. Values deeper than a limit are refused where they are
/// made, so that no template can exhaust the stack.
int depth_of(value const& v);
/// How much work it is to go through all of `v`: values inside count as often as they are reached, texts by 16 bytes.
std::size_t weight_of(value const& v);
/// One level more than `inner`. throws fault beyond the limit
int deeper(int inner);

bool equal(value const& a, value const& b);
/// −1, 0, 1. throws fault where Python has no order
int compare(value const& a, value const& b);
/// `needle in haystack`
bool contains(value const& haystack, value const& needle);

value from_json(nlohmann::ordered_json const& j);

struct json_style {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;                  ///< one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// As Python's json.dumps. throws fault for what JSON can't say
std::string to_json(value const& v, json_style const& style);

/// & < > ' " as HTML entities.
std::string escaped(std::string_view text);

/// Python's repr of a float.
std::string float_repr(double d);

}  // namespace kedge::llm::text::jinja
