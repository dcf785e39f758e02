// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include <kedge/detail/check.hpp>

namespace kedge::detail {

/// The positions of `values` from the smallest to the largest; equal values keep their order. NaN come last, so that the
/// order is one even where a run has diverged.
inline std::vector<std::size_t> ascending_order(std::vector<double> const& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Ties are broken here: the stable_sort of libstdc++ 12 calls a function that it declares deprecated, which Clang reports
  // in whatever includes this header.
  std::sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
    bool const nan_i = is_nan(values[i]), nan_j = is_nan(values[j]);
    if (nan_i != nan_j) return nan_j;
    if (nan_i) return i < j;
    return values[i] < values[j] || (!(values[j] < values[i]) && i < j);
  });
  return order;
}

}  // namespace kedge::detail
