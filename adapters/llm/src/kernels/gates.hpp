// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "gate_function.hpp"

namespace kedge::llm {

/// Nonlinearities of an MLP and caps, fp32, elementwise: a number's result depends on it alone.
struct gate_kernels {
  /// out = f(gate) · up.
  void (*gated)(gate_function f, float const* gate, float const* up, std::size_t n, float* out);
  void (*gated_backward)(gate_function f, float const* g, float const* gate, float const* up, std::size_t n,
                         float* gate_gradient, float* up_gradient);
  /// out = f(x).
  void (*activated)(gate_function f, float const* x, std::size_t n, float* out);
  void (*activated_backward)(gate_function f, float const* g, float const* x, std::size_t n, float* x_gradient);
  /// x becomes cap · tanh(x / cap).
  void (*soft_cap)(float* x, std::size_t n, float cap);
};

}  // namespace kedge::llm

#if defined(KEDGE_ISA)
#include "vector.hpp"

namespace kedge::llm::KEDGE_ISA {
namespace gate {

struct value_and_slope {
  floats value, slope;
};

KEDGE_INLINE floats tanh_argument(floats x) {
  return x * fma(x * x, broadcast(2 * 0.797884561F * 0.044715F), broadcast(2 * 0.797884561F));
}

template <gate_function F>
KEDGE_INLINE floats value(floats x) {
  if constexpr (F == gate_function::silu) return x * sigmoid(x);
  if constexpr (F == gate_function::gelu) return x * normal_share(x);
  if constexpr (F == gate_function::gelu_tanh) return x * sigmoid(tanh_argument(x));  // (1 + tanh u) / 2 is σ(2u)
  floats const above = max(zero(), x);
  return above * above;
}

template <gate_function F>
KEDGE_INLINE value_and_slope value_slope(floats x) {
  if constexpr (F == gate_function::silu) {
    floats const s = sigmoid(x);
    return {x * s, s * fma(x, 1.0F - s, broadcast(1.0F))};
  }
  if constexpr (F == gate_function::gelu) {
    floats const share = normal_share(x);
    return {x * share, fma(x, 0.398942280F * exp(-0.5F * (x * x)), share)};
  }
  if constexpr (F == gate_function::gelu_tanh) {
    floats const s = sigmoid(tanh_argument(x)),
                 inner = fma(x * x, broadcast(6 * 0.797884561F * 0.044715F), broadcast(2 * 0.797884561F));
    return {x * s, s * fma(x * inner, 1.0F - s, broadcast(1.0F))};
  }
  floats const above = max(zero(), x);
  return {above * above, above + above};
}

inline void gated(gate_function f, float const* gate, float const* up, std::size_t n, float* out) {
  with_gate(f, [&]<gate_function F>() {
    each(n, [&](std::size_t i, auto some)
                __attribute__((always_inline)) { store(out + i, value<F>(load(gate + i, some)) * load(up + i, some), some); });
  });
}

inline void gated_backward(gate_function f, float const* g, float const* gate, float const* up, std::size_t n,
                           float* gate_gradient, float* up_gradient) {
  with_gate(f, [&]<gate_function F>() {
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      floats const out = load(g + i, some);
      value_and_slope const y = value_slope<F>(load(gate + i, some));
      store(gate_gradient + i, out * load(up + i, some) * y.slope, some);
      store(up_gradient + i, out * y.value, some);
    });
  });
}

inline void activated(gate_function f, float const* x, std::size_t n, float* out) {
  with_gate(f, [&]<gate_function F>() {
    each(n,
         [&](std::size_t i, auto some) __attribute__((always_inline)) { store(out + i, value<F>(load(x + i, some)), some); });
  });
}

inline void activated_backward(gate_function f, float const* g, float const* x, std::size_t n, float* x_gradient) {
  with_gate(f, [&]<gate_function F>() {
    each(n, [&](std::size_t i, auto some) __attribute__((always_inline)) {
      store(x_gradient + i, load(g + i, some) * value_slope<F>(load(x + i, some)).slope, some);
    });
  });
}

inline void soft_cap(float* x, std::size_t n, float cap) {
  each(n, [&](std::size_t i, auto some)
              __attribute__((always_inline)) { store(x + i, tanh(load(x + i, some) / cap) * cap, some); });
}

inline constexpr gate_kernels table{gated, gated_backward, activated, activated_backward, soft_cap};

}  // namespace gate
}  // namespace kedge::llm::KEDGE_ISA
#endif
