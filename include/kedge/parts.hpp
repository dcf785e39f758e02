// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include <kedge/concepts.hpp>

namespace kedge {

/// One member of a value that is kept from round to round, under the name that a checkpoint writes.
/// A type lists its members once, `static constexpr auto parts = std::tuple{part{"name", &type::member}, ...}`; copying, saving and
/// restoring come from the list.
template <class Owner, class Value>
struct part {
  char const* name;
  Value Owner::* member;
};
template <class Owner, class Value>
part(char const*, Value Owner::*) -> part<Owner, Value>;

/// A type whose parts are known: by `parts`, or by a static for_each_part(self, visit) of its own where they vary.
template <class T>
concept listed = requires { T::parts; } || requires(T& x) { T::for_each_part(x, [](char const*, auto&) {}); };

/// Calls visit(name, member) for each part, in order. A part is a number, a tensor, a listed type, or a std::optional or std::vector
/// of these. `self` may be const.
template <class T, class Visitor>
  requires listed<std::remove_const_t<T>>
void for_each_part(T& self, Visitor&& visit) {
  using type = std::remove_const_t<T>;
  if constexpr (requires { type::parts; })
    std::apply([&](auto const&... each) { (visit(each.name, self.*each.member), ...); }, type::parts);
  else
    type::for_each_part(self, visit);
}

namespace detail {

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

/// Gives every tensor within x storage of its own; numbers are values already.
template <class T>
void unshare(T& x) {
  if constexpr (tensor<T>)
    x = deep_copy(x);
  else if constexpr (listed<T>)
    for_each_part(x, [](char const*, auto& member) { unshare(member); });
  else if constexpr (is_optional<T>) {
    if (x) unshare(*x);
  } else if constexpr (is_vector<T>) {
    for (auto& element : x) unshare(element);
  } else {
    static_assert(
        std::is_arithmetic_v<T> || std::is_enum_v<T>,
        "kedge: a part of a state is a number, a tensor, a type that lists its parts, or an optional or vector of these");
  }
}

}  // namespace detail

/// What a schedule or a problem keeps that keeps nothing.
struct no_memory {
  static constexpr std::tuple<> parts{};
};

namespace detail {
template <class Owner, class P>
struct memory_of {
  using type = no_memory;
};
template <class Owner, class P>
  requires requires { typename Owner::template memory<P>; }
struct memory_of<Owner, P> {
  using type = typename Owner::template memory<P>;
};
}  // namespace detail

/// What Owner, a schedule or a problem, keeps from round to round: its template member memory<P>, or nothing.
template <class Owner, tensor P>
using memory_of = typename detail::memory_of<Owner, P>::type;

}  // namespace kedge
