// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <kedge/parts.hpp>

// A checkpoint in memory: the smallest that saves and restores whatever lists its parts, points being vectors of numbers.

namespace kedge::testing {

struct archive {
  std::map<std::string, std::vector<double>> entries;

  template <class T>
  void save(std::string const& name, T const& x) {
    if constexpr (std::is_arithmetic_v<T>) {
      entries[name] = {static_cast<double>(x)};
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      entries[name] = x;
    } else if constexpr (listed<T>) {
      for_each_part(x, [&](char const* member, auto const& part) { save(name + "." + member, part); });
    } else if constexpr (detail::is_optional<T>) {
      entries[name + ".size"] = {x ? 1.0 : 0.0};
      if (x) save(name, *x);
    } else {
      entries[name + ".size"] = {static_cast<double>(x.size())};
      for (std::size_t i = 0; i < x.size(); ++i) save(name + "." + std::to_string(i), x[i]);
    }
  }

  template <class T>
  void restore(std::string const& name, T& x) const {
    if constexpr (std::is_arithmetic_v<T>) {
      x = static_cast<T>(entries.at(name).at(0));
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      x = entries.at(name);
    } else if constexpr (listed<T>) {
      for_each_part(x, [&](char const* member, auto& part) { restore(name + "." + member, part); });
    } else if constexpr (detail::is_optional<T>) {
      x.reset();
      if (entries.at(name + ".size").at(0) != 0) restore(name, x.emplace());
    } else {
      x.resize(static_cast<std::size_t>(entries.at(name + ".size").at(0)));
      for (std::size_t i = 0; i < x.size(); ++i) restore(name + "." + std::to_string(i), x[i]);
    }
  }
};

}  // namespace kedge::testing
