// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

struct value_and_slope {
  float value, slope;
};

KEDGE_GPU inline float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

/// A gate's nonlinearity and its derivative.
template <gate_function F>
KEDGE_GPU value_and_slope activated(float x) {
  if constexpr (F == gate_function::silu) {
    float const s = sigmoid(x);
    return {x * s, s * (1 + x * (1 - s))};
  } else if constexpr (F == gate_function::gelu) {
    float const share = 0.5F * std::erfc(x * -0.707106781F);
    return {x * share, share + x * 0.398942280F * std::exp(-0.5F * x * x)};
  } else if constexpr (F == gate_function::gelu_tanh) {  // (1 + tanh u) / 2 is σ(2 u)
    constexpr float linear = 2 * 0.797884561F, cubic = linear * 0.044715F;
    float const square = x * x, s = sigmoid(x * (linear + cubic * square));
    return {x * s, s + x * s * (1 - s) * (linear + 3 * cubic * square)};
  } else {
    float const above = x < 0 ? 0 : x;  // NaN stays
    return {above * above, above + above};
  }
}

/// Of gates, a block takes a row. Moved, a number of a row, in bf16: 4 of gate and up, 2 of out.
template <class T, int N>
struct gate {
  using arguments = gpu_gate;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_gate const& a) { return {a.width == 0 ? 0 : a.rows, threads_for(a.width, N, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_gate const& a) {
    number_row<T> const in(a.gate_up, block.index()), out(a.out, block.index());
    with_gate(a.act, [&]<gate_function F>() {
      each_vector<N, 0>(block, a.width, [&](std::int64_t i, int) {
        vec<N> const x = in.template get<N>(i), up = in.template get<N>(a.width + i);
        out.put(i, made<N>([&](int j) { return activated<F>(x[j]).value * up[j]; }));
      });
    });
  }
};

/// Moved, a number of a row, in bf16: 2 of g, 4 of gate and up, 4 of their gradients, and 2 of out where it is asked for.
template <class T, int N>
struct gate_backward {
  using arguments = gpu_gate_backward;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_gate_backward const& a) { return {a.width == 0 ? 0 : a.rows, threads_for(a.width, N, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_gate_backward const& a) {
    number_row<T> const in(a.gate_up, block.index()), g(a.g, block.index()), to(a.g_gate_up, block.index());
    with_gate(a.act, [&]<gate_function F>() {
      each_vector<N, 0>(block, a.width, [&](std::int64_t i, int) {
        vec<N> const of_out = g.template get<N>(i), x = in.template get<N>(i), up = in.template get<N>(a.width + i);
        vec<N> value, of_x;
        KEDGE_UNROLL
        for (int j = 0; j < N; ++j) {
          value_and_slope const y = activated<F>(x[j]);
          value[j] = y.value;
          of_x[j] = of_out[j] * up[j] * y.slope;
        }
        to.put(i, of_x);
        to.put(a.width + i, made<N>([&](int j) { return of_out[j] * value[j]; }));
        if (a.out.at) number_row<T>(a.out, block.index()).put(i, made<N>([&](int j) { return value[j] * up[j]; }));
      });
    });
  }
};

}  // namespace kedge::llm::gpu
