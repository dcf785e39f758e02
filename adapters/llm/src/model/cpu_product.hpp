// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace kedge::llm {

/// Elements of a matrix that are read: element (i, j) lies at i · row + j · column; one of the two strides is 1.
struct matrix_view {
  void const* data;
  std::size_t row, column;
  bool bf16;
};

/// C = A B, or C = onto + A B, summed in fp32 whatever A and B are.   A: [m, k], B: [k, n], C and onto: [m, n], rows c_row apart
struct matrix_product {
  matrix_view a, b;
  float const* onto;  ///< may be c; null for a plain product
  float* c;
  std::size_t c_row;
  std::size_t m, n, k;
};

/// Where a product is best cut: tiles have 8 rows and 48 columns, or 12 and 32.
inline constexpr std::size_t tile_rows = 24, tile_columns = 48;

/// One thread's share of a product. Every output is summed in an order that depends on k alone, not on m, n, or where they are cut.
using product_kernel = void (*)(matrix_product const&);

/// The kernel of this processor; null where none is written for it.
[[nodiscard]] product_kernel fast_product();

}  // namespace kedge::llm
