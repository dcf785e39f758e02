// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace kedge::llm {

/// One row of an enumeration's table: what flags, config files and records write for a value.
template <class E>
struct named {
  E value;
  std::string_view name;
  std::string_view help{};  ///< what it does, in a few words
};

/// An enumeration with a table of names: `constexpr auto names(E)`, found beside E, returns an array of named<E>. The first name of a
/// value is the one that is written; further ones are read too.
template <class E>
concept named_enum = std::is_enum_v<E> && requires(E value) {
  { *names(value).begin() } -> std::convertible_to<named<E>>;
};

/// The name that is written for a value.
template <named_enum E>
[[nodiscard]] constexpr std::string_view name_of(E value) {
  for (auto const& row : names(E{}))
    if (row.value == value) return row.name;
  return "?";
}

/// The value of a name; none for an unknown one.
template <named_enum E>
[[nodiscard]] constexpr std::optional<E> from_name(std::string_view name) {
  for (auto const& row : names(E{}))
    if (row.name == name) return row.value;
  return std::nullopt;
}

/// The names of some values, in their order.
template <named_enum E>
[[nodiscard]] std::vector<std::string> names_of(std::vector<E> const& values) {
  std::vector<std::string> all;
  for (E const value : values) all.emplace_back(name_of(value));
  return all;
}

/// "a, b or c"
template <named_enum E>
[[nodiscard]] std::string all_names() {
  std::string text;
  auto const table = names(E{});
  for (std::size_t i = 0; i < table.size(); ++i) text += (i == 0 ? "" : i + 1 == table.size() ? " or " : ", ") + std::string(table[i].name);
  return text;
}

}  // namespace kedge::llm
