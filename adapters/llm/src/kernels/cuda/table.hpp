// SPDX-License-Identifier: Apache-2.0
#pragma once

// The table of kernels of a device, which knows how to launch a body:
//   template <class Body> static void launch(gpu_stream, Body::arguments const&);

#include <type_traits>

#include "adam.hpp"
#include "gate.hpp"
#include "gather.hpp"
#include "norm.hpp"
#include "norm_backward.hpp"
#include "paged_attention.hpp"
#include "rotate.hpp"
#include "sample.hpp"
#include "softmax.hpp"

namespace kedge::llm::gpu {

template <class Device>
struct launches {
  static void norm(gpu_stream stream, gpu_norm const& a) {
    bool const aligned = by_sixteen(a.x, a.width * 4) && by_sixteen(a.sum, a.width * 4);
    with_numbers({a.added, a.weight, a.out}, a.width, aligned, [&]<class T, int N>() { Device::template launch<gpu::norm<T, N>>(stream, a); });
  }

  static void norm_backward(gpu_stream stream, gpu_norm_backward const& a) {
    bool const aligned = by_sixteen(a.x, a.width * 4) && by_sixteen(a.gx, a.width * 4) && by_sixteen(a.partial, a.width * 4);
    with_numbers({a.g, a.weight, a.narrowed}, a.width, aligned, [&]<class T, int N>() { Device::template launch<gpu::norm_backward<T, N>>(stream, a); });
    Device::template launch<norm_weight_gradient>(stream, a);
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

  static void softmax(gpu_stream stream, gpu_softmax const& a) {
    bool const figures = a.entropy || a.mean || a.likeliest || a.square_sum;
    // The scores say how many are taken at a time, so that no bit of a sum depends on what else is written.
    auto const of_type = [&]<class T>() {
      auto const of_size = [&]<int N>() {
        figures ? Device::template launch<gpu::softmax<T, N, true>>(stream, a) : Device::template launch<gpu::softmax<T, N, false>>(stream, a);
      };
      bool const fits = reinterpret_cast<std::uintptr_t>(a.residual.at) % (sizeof(T) * wide<float>) == 0 && a.residual.stride % wide<float> == 0;
      by_sixteen(a.scores, a.vocabulary * 4) && fits ? of_size.template operator()<wide<float>>() : of_size.template operator()<1>();
    };
    a.residual.at && a.residual.type == gpu_number::bf16 ? of_type.template operator()<std::uint16_t>() : of_type.template operator()<float>();
  }

  static void gather(gpu_stream stream, gpu_gather const& a) {
    with_numbers({a.keys, a.values, a.out_keys, a.out_values}, a.width, true,
                 [&]<class T, int N>() { Device::template launch<gpu::gather<T, N>>(stream, a); });
  }

  static void reduce(gpu_stream stream, gpu_reduce const& a) {
    with_numbers({a.keys, a.values, a.out_keys, a.out_values}, a.width, true,
                 [&]<class T, int N>() { Device::template launch<gpu::reduce<T, N>>(stream, a); });
  }

  static void adam(gpu_stream stream, gpu_adam const& a) {
    switch (a.moments) {
      case gpu_moments::fp32:
        return Device::template launch<gpu::adam<gpu_moments::fp32>>(stream, a);
      case gpu_moments::bf16:
        return Device::template launch<gpu::adam<gpu_moments::bf16>>(stream, a);
      case gpu_moments::bits8:
        return Device::template launch<gpu::adam<gpu_moments::bits8>>(stream, a);
    }
  }

  static void square_sum(gpu_stream stream, gpu_square_sum const& a) {
    Device::template launch<square_sums>(stream, a);
    Device::template launch<square_sum_root>(stream, a);
  }

  static void sample(gpu_stream stream, gpu_sample const& a) {
    bool const aligned = by_sixteen(a.scores, a.stride * 4) && a.vocabulary % wide<float> == 0;
    aligned ? Device::template launch<gpu::sample<wide<float>>>(stream, a) : Device::template launch<gpu::sample<1>>(stream, a);
  }

  static void paged_attention(gpu_stream stream, gpu_paged_attention const& a) {
    std::int64_t const rows = a.most_queries * (a.heads / a.kv_heads);
    bool const aligned = by_sixteen(a.partial);
    with_numbers({a.q, a.keys, a.values, a.out}, a.head_dim, aligned, [&]<class T, int N>() {
      if constexpr (!std::is_same_v<T, either>) {
        if (rows == 1)
          Device::template launch<gpu::paged_attention<T, N, 1>>(stream, a);
        else if (rows <= 4)
          Device::template launch<gpu::paged_attention<T, N, 4>>(stream, a);
        else
          Device::template launch<gpu::paged_attention<T, N, 8>>(stream, a);
        Device::template launch<join_attention<T>>(stream, a);
      }
    });
  }
};

/// Those of a device.
template <class Device>
inline constexpr gpu_kernel_table table_of{
    .norm = launches<Device>::norm,
    .norm_backward = launches<Device>::norm_backward,
    .rotate = launches<Device>::rotate,
    .gate = launches<Device>::gate,
    .gate_backward = launches<Device>::gate_backward,
    .softmax = launches<Device>::softmax,
    .gather = launches<Device>::gather,
    .reduce = launches<Device>::reduce,
    .adam = launches<Device>::adam,
    .square_sum = launches<Device>::square_sum,
    .sample = launches<Device>::sample,
    .paged_attention = launches<Device>::paged_attention,
};

}  // namespace kedge::llm::gpu
