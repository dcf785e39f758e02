// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace kedge::llm {

/// The nonlinearity of an MLP: x σ(x); x Φ(x), Φ the share of a normal distribution; the same with tanh in place of Φ; max(0, x)².
enum class gate_function { silu, gelu, gelu_tanh, relu2 };

/// run.template operator()<f>() for the function that is asked for. Always inlined, since kernels are compiled for several processors.
template <class Run>
#if defined(__CUDACC__)
__host__ __device__
#endif
    [[gnu::always_inline]] inline void
    with_gate(gate_function f, Run const& run) {
  switch (f) {
    case gate_function::silu:
      return run.template operator()<gate_function::silu>();
    case gate_function::gelu:
      return run.template operator()<gate_function::gelu>();
    case gate_function::gelu_tanh:
      return run.template operator()<gate_function::gelu_tanh>();
    case gate_function::relu2:
      return run.template operator()<gate_function::relu2>();
  }
}

}  // namespace kedge::llm
