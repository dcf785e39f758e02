// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <tuple>
#include <utility>

namespace kedge {

/// One number that an algorithm can be told: a member of its type, with what everyone has to know of it.
/// Types list them as `static constexpr auto parameters = std::tuple{parameter<Owner>{...}, ...}`; flags, checks and docs come from there.
/// NaN is never in range.
template <class Owner, class Value = double>
struct parameter {
  char const* name;           ///< as flags and configuration files write it
  Value Owner::*member;
  double least, most;         ///< closed range, unless open says otherwise
  char const* help;           ///< what it does, its unit
  bool open_least = false;    ///< `least` itself is out of range
  bool open_most = false;
};

inline constexpr double unbounded = std::numeric_limits<double>::max();

}  // namespace kedge
