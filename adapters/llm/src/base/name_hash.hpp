// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // size_t
#include <functional>   // hash
#include <string_view>  // string_view

namespace kedge::llm {

/// Lets an unordered_map with std::string keys be searched by a std::string_view (with std::equal_to<>).
struct name_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>{}(name); }
};

}  // namespace kedge::llm
