// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tuple>

#include <kedge/detail/check.hpp>
#include <kedge/detail/parameters.hpp>

namespace kedge::detail {

/// A type that lists its parameters.
template <class T>
concept has_parameters = requires { T::parameters; };

template <has_parameters T, class Visitor>
void for_each_parameter(Visitor&& visit) {
  std::apply([&](auto const&... each) { (visit(each), ...); }, T::parameters);
}

template <class Owner, class Value>
[[nodiscard]] bool in_range(parameter<Owner, Value> const& p, double value) {
  if (is_nan(value)) return false;
  return (p.open_least ? value > p.least : value >= p.least) && (p.open_most ? value < p.most : value <= p.most);
}

/// The range as mathematics writes it: (0, 1].
template <class Owner, class Value>
[[nodiscard]] std::string range_text(parameter<Owner, Value> const& p) {
  bool const endless = p.most == unbounded;
  return (p.open_least ? "(" : "[") + (p.least == -unbounded ? "-inf" : text(p.least)) + ", " +
         (endless ? "inf" : text(p.most)) + (p.open_most || endless ? ")" : "]");
}

/// Refuses an object one of whose listed parameters is out of range.
template <class T>
void require_in_range(T const& object) {
  if constexpr (has_parameters<T>)
    for_each_parameter<T>([&](auto const& p) {
      require(in_range(p, static_cast<double>(object.*p.member)), p.name, " = ", object.*p.member, "; it must be in ",
              range_text(p));
    });
}

}  // namespace kedge::detail
