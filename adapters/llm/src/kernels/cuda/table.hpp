// SPDX-License-Identifier: Apache-2.0
#pragma once

// The table of kernels of a device, which knows how to launch a body:
//   template <class Body> static void launch(gpu_stream, Body::arguments const&);

#include "gate.hpp"
#include "norm.hpp"
#include "rotate.hpp"

namespace kedge::llm::gpu {

template <class Device>
struct launches {
  static void norm(gpu_stream stream, gpu_norm const& a) {
    bool const aligned = by_sixteen(a.x, a.width * 4) && by_sixteen(a.sum, a.width * 4);
    with_numbers({a.added, a.weight, a.out}, a.width, aligned, [&]<class T, int N>() { Device::template launch<gpu::norm<T, N>>(stream, a); });
  }

  static void rotate(gpu_stream stream, gpu_rotation const& a) {
    bool const aligned = by_sixteen(a.cosine, a.half * 4) && by_sixteen(a.sine, a.half * 4) && a.head_dim % wide<std::uint16_t> == 0;
    with_numbers({a.x}, a.half, aligned, [&]<class T, int N>() { Device::template launch<gpu::rotate<T, N>>(stream, a); });
  }

  static void gate(gpu_stream stream, gpu_gate const& a) {
    with_numbers({a.gate_up, a.out}, a.width, true, [&]<class T, int N>() { Device::template launch<gpu::gate<T, N>>(stream, a); });
  }

  static void gate_backward(gpu_stream stream, gpu_gate_backward const& a) {
    with_numbers({a.g, a.gate_up, a.g_gate_up, a.out}, a.width, true,
                 [&]<class T, int N>() { Device::template launch<gpu::gate_backward<T, N>>(stream, a); });
  }
};

/// Those of a device.
template <class Device>
inline constexpr gpu_kernel_table table_of{
    .norm = launches<Device>::norm,
    .norm_backward = nullptr,
    .rotate = launches<Device>::rotate,
    .gate = launches<Device>::gate,
    .gate_backward = launches<Device>::gate_backward,
    .softmax = nullptr,
    .gather = nullptr,
    .reduce = nullptr,
    .adam = nullptr,
    .square_sum = nullptr,
    .sample = nullptr,
    .paged_attention = nullptr,
};

}  // namespace kedge::llm::gpu
