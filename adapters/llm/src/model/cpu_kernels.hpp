// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Outputs of a matrix product that lie together in packed weights: a panel is [in][panel_width], an element bf16 or fp32.
/// In bf16 a 32-bit word holds output j below and j + 16 above, so that a shift and a mask widen them.
inline constexpr std::size_t panel_width = 32;

/// What becomes of the products of a panel.
enum class panel_end {
  store,    ///< y = x Wᵀ
  add,      ///< y += x Wᵀ
  swiglu,   ///< y = silu(first half) ∘ second half; 16 outputs
};

/// x Wᵀ for one panel of W. Every output is summed in the order of `in`: it does not depend on the other rows.
struct panel_product {
  float const* x;       ///< [rows, in], x_stride numbers apart
  std::size_t x_stride, rows, in;
  void const* panel;
  float* y;             ///< [rows, columns], y_stride numbers apart
  std::size_t y_stride, columns;
  panel_end end;
  float* wide;          ///< scratch for bf16 weights of more than 12 rows, [in][panel_width]
  bool bf16;            ///< weights are bf16, and products are rounded to it, as are silu and its product
};

/// Attention of the query heads that share a key-value head, for one token.
struct grouped_attention {
  float const* q;             ///< [heads, d]
  std::size_t heads, d, keys; ///< d a multiple of 16
  void const* const* pages;   ///< of 16 positions, fp32 or bf16: keys [d][16], then values [16][d]
  float* scores;              ///< scratch, [heads, keys rounded up to 16]
  float* out;                 ///< [heads, d]
  float scale;
  bool bf16;                  ///< pages are bf16, and the output is rounded to it
};

/// RMS normalisation of a row in Hugging Face's order: scaled, rounded, weighted, rounded.
struct row_norm {
  float const* x;
  float const* weight;
  float* out;
  std::size_t n;
  float eps;
  bool bf16;
};

/// Inner loops written for the processor at hand. Numbers that are bf16 by type are fp32 here, rounded where bf16 rounds.
struct cpu_kernels {
  void (*multiply)(panel_product const&);
  void (*attend)(grouped_attention const&);
  void (*normalise)(row_norm const&);
  float (*largest)(float const* x, std::size_t n);
  /// Σ exp((x − shift) · scale), n small enough for an fp32 sum.
  double (*exp_sum)(float const* x, std::size_t n, float shift, float scale);
};

/// Those of this processor; null where none are written for it.
[[nodiscard]] cpu_kernels const* fast_kernels();

}  // namespace kedge::llm
