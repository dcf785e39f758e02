// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "adam.hpp"
#include "convert.hpp"
#include "decode.hpp"
#include "gates.hpp"
#include "merge.hpp"
#include "norms.hpp"
#include "product.hpp"
#include "quantised.hpp"
#include "quantised_product.hpp"
#include "softmax.hpp"
#include "tile_product.hpp"

namespace kedge::llm {

/// The loops of the processor: every kernel, compiled for one instruction set. A new kernel is a file and a member here.
struct kernel_table {
  char const* name;  ///< of the instruction set
  product_kernels product;
  norm_kernels norms;
  gate_kernels gates;
  softmax_kernels softmax;
  adam_kernels adam;
  convert_kernels convert;
  decode_kernels decode;
  merge_kernels merge;
  void (*tile_product)(matrix_product const&);  ///< as product.multiply, operands rounded to bf16, faster; null without matrix units
  quantised_kernels quantised;
  quantised_product_kernels quantised_product;
  std::size_t near_scores;  ///< numbers of an attention's scores that stay in the second-level cache
};

/// Those in use: the best that this processor runs, unless use_instruction_set has named another.
[[nodiscard]] kernel_table const& kernels();

/// All that this processor runs, the best in front.
[[nodiscard]] std::vector<kernel_table const*> runnable_kernels();

}  // namespace kedge::llm
