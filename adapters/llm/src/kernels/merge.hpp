// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Loops over the numbers of merged checkpoints. Every instruction set gives the same bits.
struct merge_kernels {
  /// y ← x·w + y, each element rounded once (fused multiply-add).
  void (*add_scaled)(float w, float const* x, float* y, std::size_t n);
  /// y ← (x − base)·w + y, the difference and the rest rounded once each.
  void (*add_scaled_difference)(float w, float const* x, float const* base, float* y, std::size_t n);
  /// Σ xᵢyᵢ in float64, summed in eight interleaved parts.
  double (*dot)(float const* x, float const* y, std::size_t n);
  /// Σ |xᵢ| in float64, summed likewise.
  double (*sum_of_magnitudes)(float const* x, std::size_t n);
  /// False if any element is NaN or infinite.
  bool (*all_finite)(float const* x, std::size_t n);
  /// bf16 to fp32 and back, rounded to nearest; numbers are finite. Bytes of a file may lie anywhere.
  void (*from_bf16)(void const* in, float* out, std::size_t n);
  void (*to_bf16)(float const* in, void* out, std::size_t n);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace merge {

// Plain loops, which the compiler makes vectors of: a fused multiply-add where the processor has none is a call.

constexpr std::size_t parts = 8;  // of sums: the same on every processor

inline void add_scaled(float w, float const* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = __builtin_fmaf(x[i], w, y[i]);
}

inline void add_scaled_difference(float w, float const* x, float const* base, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = __builtin_fmaf(x[i] - base[i], w, y[i]);
}

KEDGE_INLINE double total(double const (&of)[parts]) { return ((of[0] + of[4]) + (of[1] + of[5])) + ((of[2] + of[6]) + (of[3] + of[7])); }

inline double dot(float const* x, float const* y, std::size_t n) {
  double of[parts] = {};
  std::size_t i = 0;
  for (; i + parts <= n; i += parts)
    for (std::size_t k = 0; k < parts; ++k) of[k] += static_cast<double>(x[i + k]) * static_cast<double>(y[i + k]);
  for (; i < n; ++i) of[i % parts] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return total(of);
}

inline double sum_of_magnitudes(float const* x, std::size_t n) {
  double of[parts] = {};
  std::size_t i = 0;
  for (; i + parts <= n; i += parts)
    for (std::size_t k = 0; k < parts; ++k) of[k] += static_cast<double>(__builtin_fabsf(x[i + k]));
  for (; i < n; ++i) of[i % parts] += static_cast<double>(__builtin_fabsf(x[i]));
  return total(of);
}

inline bool all_finite(float const* x, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= static_cast<std::uint32_t>((__builtin_bit_cast(std::uint32_t, x[i]) & 0x7f80'0000U) == 0x7f80'0000U);
  return bad == 0;
}

inline void from_bf16(void const* in, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t bits = 0;
    __builtin_memcpy(&bits, static_cast<char const*>(in) + 2 * i, sizeof bits);
    out[i] = __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16U);
  }
}

inline void to_bf16(float const* in, void* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    auto const bits = __builtin_bit_cast(std::uint32_t, in[i]);
    auto const nearest = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
    __builtin_memcpy(static_cast<char*>(out) + 2 * i, &nearest, sizeof nearest);
  }
}

inline constexpr merge_kernels table{add_scaled, add_scaled_difference, dot, sum_of_magnitudes, all_finite, from_bf16, to_bf16};

}  // namespace merge
}  // namespace kedge::llm::KEDGE_ISA
#endif
