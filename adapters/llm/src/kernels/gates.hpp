// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace kedge::llm {

/// The gate of an MLP, fp32, elementwise.
struct gate_kernels {
  /// out = silu(gate) · up.
  void (*swiglu)(float const* gate, float const* up, std::size_t n, float* out);
  void (*swiglu_backward)(float const* g, float const* gate, float const* up, std::size_t n, float* gate_gradient, float* up_gradient);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace gate {

inline void swiglu(float const* gate, float const* up, std::size_t n, float* out) {
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const z = load(gate + i, some);
    store(out + i, z * sigmoid(z) * load(up + i, some), some);
  });
}

// silu' = s (1 + z (1 − s)), s the sigmoid of z.
inline void swiglu_backward(float const* g, float const* gate, float const* up, std::size_t n, float* gate_gradient, float* up_gradient) {
  each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
    floats const z = load(gate + i, some), s = sigmoid(z), out = load(g + i, some);
    floats const slope = s * fma(z, 1.0F - s, broadcast(1.0F));
    store(gate_gradient + i, out * load(up + i, some) * slope, some);
    store(up_gradient + i, out * (z * s), some);
  });
}

inline constexpr gate_kernels table{swiglu, swiglu_backward};

}  // namespace gate
}  // namespace kedge::llm::KEDGE_ISA
#endif
