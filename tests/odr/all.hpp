// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that a program may include in two of its translation units.
#include <kedge/kedge.hpp>

#if __has_include(<kedge/adapters/eigen.hpp>)
#include <kedge/adapters/eigen.hpp>
#endif
#if __has_include(<kedge/adapters/xtensor.hpp>)
#include <kedge/adapters/xtensor.hpp>
#endif

/// What one translation unit sees: where the operations live, and how large a state is.
struct view {
  void const* deep_copy;
  void const* axpby;
  void const* dot;
  std::size_t state;
};

view view_of_a();
view view_of_b();
