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
template <class Owner>
bool in_range(parameter<Owner> const& p, double value) {
  return (p.open_least ? value > p.least : value >= p.least) && (p.open_most ? value < p.most : value <= p.most);
}

/// "positive", "at least 0", "above 0 and below 1", "finite".
inline std::string range_text(double least, double most, bool open_least, bool open_most) {
  std::string const low = least == -unbounded                             ? ""
                          : least == 0 && open_least && most == unbounded ? "positive"
                                                                          : (open_least ? "above " : "at least ") + text(least);
  std::string const high = most == unbounded ? "" : (open_most ? "below " : "at most ") + text(most);
  if (low.empty() && high.empty()) return "finite";
  return low + (low.empty() || high.empty() ? "" : " and ") + high;
}

/// Refuses, with name, value and range, what is out of range.
template <class Owner>
void check_parameters(Owner const& owner) {
  for_each_parameter(owner, [](auto const& p, double value) {
    if (!in_range(p, value))
      require(false, p.name, " = ", value, "; it must be ", range_text(p.least, p.most, p.open_least, p.open_most));
  });
}

}  // namespace kedge::detail
