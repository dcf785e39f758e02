// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Inner loops written for the processor at hand.
struct cpu_kernels {
  /// Largest of n numbers.
  float (*largest)(float const* x, std::size_t n);
  /// Σ exp((x − shift) · scale), n small enough for an fp32 sum.
  double (*exp_sum)(float const* x, std::size_t n, float shift, float scale);
};

/// Those of this processor; null where none are written for it.
[[nodiscard]] cpu_kernels const* fast_kernels();

}  // namespace kedge::llm
