// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // byte, size_t
#include <span>     // span

#include <kedge/llm/files/dtype.hpp>

namespace kedge::llm {

// Loops over numbers, each compiled twice: for every processor, and for those with AVX2 and FMA. Both give the same bits.

/// y ← x·w + y, each element rounded once (fused multiply-add).
void add_scaled(float w, std::span<float const> x, std::span<float> y);

/// y ← (x − base)·w + y, the difference and the rest rounded once each.
void add_scaled_difference(float w, std::span<float const> x, std::span<float const> base, std::span<float> y);

/// Σ xᵢyᵢ in float64, summed in eight interleaved parts.
double dot(std::span<float const> x, std::span<float const> y);

/// Σ |xᵢ| in float64, summed likewise.
double sum_of_magnitudes(std::span<float const> x);

/// False if any element is NaN or infinite.
bool all_finite(std::span<float const> x);

/// convert() between float32 and the other formats, faster for bfloat16.
void widen(dtype from, std::span<std::byte const> in, std::span<float> out);
void narrow(std::span<float const> in, dtype to, std::span<std::byte> out);

}  // namespace kedge::llm
