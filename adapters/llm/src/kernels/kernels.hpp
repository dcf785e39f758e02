// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "adam.hpp"
#include "decode.hpp"
#include "gates.hpp"
#include "merge.hpp"
#include "norms.hpp"
#include "product.hpp"
#include "softmax.hpp"

namespace kedge::llm {

/// The loops of the processor: every kernel, compiled for one instruction set. A new kernel is a file and a member here.
struct kernel_table {
  char const* name;  ///< of the instruction set
  product_kernels product;
  norm_kernels norms;
  gate_kernels gates;
  softmax_kernels softmax;
  adam_kernels adam;
  decode_kernels decode;
  merge_kernels merge;
  std::size_t near_scores;  ///< numbers of an attention's scores that stay in the second-level cache
};

/// Those of this processor: the best that it runs, or the one that the environment variable KEDGE_ISA names. Chosen once.
/// throws  error if KEDGE_ISA names none, or one that this processor doesn't run
[[nodiscard]] kernel_table const& kernels();

/// All that this processor runs, the best in front.
[[nodiscard]] std::vector<kernel_table const*> runnable_kernels();

/// Whether bf16 products are left to the processor's matrix units (AMX), by LibTorch. Only these multiply bf16 faster than fp32: AVX-512's
/// bf16 instruction was measured at half the rate of its fp32 multiply-adds. False where KEDGE_ISA names an instruction set.
[[nodiscard]] bool uses_matrix_units();

/// For people: the instruction set, and the matrix units where they are used.
[[nodiscard]] std::string describe_kernels();

}  // namespace kedge::llm
