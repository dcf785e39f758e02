// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <tuple>
#include <type_traits>

#include <kedge/detail/check.hpp>
#include <kedge/detail/parameters.hpp>

namespace kedge::detail {

/// f(parameter, value) for every parameter that `owner` lists, then for those of its parts(), a tuple of references.
template <class Owner, class F>
void for_each_parameter(Owner& owner, F&& f) {
  using type = std::remove_const_t<Owner>;
  if constexpr (requires { type::parameters; })
    std::apply([&](auto const&... each) { (f(each, owner.*(each.member)), ...); }, type::parameters);
  if constexpr (requires { owner.parts(); })
    std::apply([&](auto&... part) { (for_each_parameter(part, f), ...); }, owner.parts());
}

/// NaN is in no range, infinity neither.
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

/// The range in words: "positive", "at least 0", "above 0 and below 1", "finite".
template <class Owner, class Value>
[[nodiscard]] std::string range_words(parameter<Owner, Value> const& p) {
  bool const positive = p.least == 0 && p.open_least && p.most == unbounded;
  std::string const low = p.least == -unbounded ? "" : positive ? "positive" : (p.open_least ? "above " : "at least ") + text(p.least);
  std::string const high = p.most == unbounded ? "" : (p.open_most ? "below " : "at most ") + text(p.most);
  if (low.empty() && high.empty()) return "finite";
  return low + (low.empty() || high.empty() ? "" : " and ") + high;
}

/// Refuses an object one of whose parameters is out of range, with name, value and describe(parameter).
template <class Owner, class Describe>
void check_ranges(Owner const& owner, Describe const& describe) {
  for_each_parameter(owner, [&](auto const& p, auto value) {
    if (!in_range(p, static_cast<double>(value))) require(false, p.name, " = ", value, "; it must be ", describe(p));
  });
}

/// The check of schedules and momentum rules, which speak in intervals.
template <class Owner>
void require_in_range(Owner const& owner) {
  check_ranges(owner, [](auto const& p) { return "in " + range_text(p); });
}

/// The check of losses and optimizers, which speak in words.
template <class Owner>
void check_parameters(Owner const& owner) {
  check_ranges(owner, [](auto const& p) { return range_words(p); });
}

}  // namespace kedge::detail
