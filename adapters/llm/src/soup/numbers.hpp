// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // byte, size_t
#include <span>     // span

#include <kedge/llm/formats/dtype.hpp>

#include "../kernels/kernels.hpp"

namespace kedge::llm {

// The loops of merge_kernels over spans.

inline void add_scaled(float w, std::span<float const> x, std::span<float> y) { kernels().merge.add_scaled(w, x.data(), y.data(), y.size()); }
inline void add_scaled_difference(float w, std::span<float const> x, std::span<float const> base, std::span<float> y) {
  kernels().merge.add_scaled_difference(w, x.data(), base.data(), y.data(), y.size());
}
inline double dot(std::span<float const> x, std::span<float const> y) { return kernels().merge.dot(x.data(), y.data(), x.size()); }
inline double sum_of_magnitudes(std::span<float const> x) { return kernels().merge.sum_of_magnitudes(x.data(), x.size()); }
inline bool all_finite(std::span<float const> x) { return kernels().merge.all_finite(x.data(), x.size()); }

/// convert() between float32 and the other formats, faster for bfloat16.
inline void widen(dtype from, std::span<std::byte const> in, std::span<float> out) {
  if (from != dtype::bf16) return convert(from, in, dtype::f32, std::as_writable_bytes(out));
  kernels().merge.from_bf16(in.data(), out.data(), out.size());
}
inline void narrow(std::span<float const> in, dtype to, std::span<std::byte> out) {
  if (to != dtype::bf16) return convert(dtype::f32, std::as_bytes(in), to, out);
  kernels().merge.to_bf16(in.data(), out.data(), in.size());
}

}  // namespace kedge::llm
