// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace kedge::llm {

/// Numbers in another type.
struct convert_kernels {
  /// fp32 to the bits of bf16, rounded to nearest; NaN stays NaN.
  void (*narrow)(float const* x, std::size_t n, std::uint16_t* out);
  void (*widen)(std::uint16_t const* x, std::size_t n, float* out);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace convert {

inline void narrow(float const* x, std::size_t n, std::uint16_t* out) {
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, narrowed(load(x + i, some)), some); });
}

inline void widen(std::uint16_t const* x, std::size_t n, float* out) {
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, number(x + i, some), some); });
}

inline constexpr convert_kernels table{narrow, widen};

}  // namespace convert
}  // namespace kedge::llm::KEDGE_ISA
#endif
