// SPDX-License-Identifier: Apache-2.0
#include <cmath>  // floor, fmod, pow

#include "evaluator.hpp"
#include "strings.hpp"

namespace kedge::llm::text::jinja {
namespace {

[[noreturn]] void no_operation(std::string_view op, value const& a, value const& b) {
  for (value const* const v : {&a, &b})
    if (v->is_undefined()) throw fault(v->as_undefined().what);
  throw fault("unsupported operand types for " + std::string(op) + ": '" + a.type_name() + "' and '" + b.type_name() + "'");
}

[[noreturn]] void too_large(std::string_view op) { throw fault("the result of " + std::string(op) + " does not fit 64 bits"); }

value float_operation(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) throw fault("division by zero");
  if (op == "/") return a / b;
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return op == "%" ? r : std::floor((a - r) / b + 0.5);
}

value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  if (base == 0 || base == 1) return exponent == 0 ? std::int64_t{1} : base;
  if (base == -1) return std::int64_t{exponent % 2 == 0 ? 1 : -1};
  std::int64_t out = 1;
  for (; exponent > 0; --exponent)
    if (__builtin_mul_overflow(out, base, &out)) too_large("**");
  return out;
}

value integer_operation(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (op == "+" ? __builtin_add_overflow(a, b, &out) : op == "-" ? __builtin_sub_overflow(a, b, &out) : op == "*" && __builtin_mul_overflow(a, b, &out))
    too_large(op);
  if (op == "+" || op == "-" || op == "*") return out;
  if (op == "**") return integer_power(a, b);
  if (b == 0) throw fault("division by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) {
    if (op == "//" && a == INT64_MIN) too_large(op);
    return op == "%" ? std::int64_t{0} : -a;
  }
  std::int64_t const r = a % b;
  bool const adjust = r != 0 && (r < 0) != (b < 0);
  return op == "%" ? (adjust ? r + b : r) : a / b - (adjust ? 1 : 0);
}

}  // namespace

value binary_operation(evaluator& e, std::string_view op, value const& a, value const& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return float_operation(op, a.to_double(op), b.to_double(op));
    return integer_operation(op, a.to_integer(op), b.to_integer(op));
  }
  if (op == "%" && a.is_markup()) throw fault("% on a text marked safe is not supported");
  if (op == "%" && a.is_string()) return percent_format(e, a.as_string(), b);
  if (op == "+" && a.is_string() && b.is_string() && (a.is_markup() || b.is_markup())) {
    auto const safe = [](value const& v) { return v.is_markup() ? v.as_string() : escaped(v.as_string()); };
    return value(e.checked(safe(a) + safe(b))).as_markup();
  }
  if (op == "+" && a.is_string() && b.is_string()) return e.checked(a.as_string() + b.as_string());
  if (op == "+" && a.is_list() && b.is_list() && a.kind() == b.kind() && (a.is_tuple() || a.kind() == list_kind::list)) {
    auto items = a.as_list();
    items.insert(items.end(), b.as_list().begin(), b.as_list().end());
    e.charge(items.size());
    return value::of_list(std::move(items), a.kind());
  }
  if (op == "*") {
    value const& times = a.is_number() ? a : b;
    value const& what = a.is_number() ? b : a;
    if (!(times.is_integer() || times.is_bool())) no_operation(op, a, b);
    std::int64_t const n = times.to_integer(op);
    if (what.is_string()) return repeated(e, what.as_string(), n);
    if (what.is_list() && (what.is_tuple() || what.kind() == list_kind::list)) {
      std::vector<value> items;
      for (std::int64_t i = 0; i < n; ++i) {
        e.charge(what.as_list().size() + 1);
        items.insert(items.end(), what.as_list().begin(), what.as_list().end());
      }
      return value::of_list(std::move(items), what.kind());
    }
  }
  no_operation(op, a, b);
}

}  // namespace kedge::llm::text::jinja
