// SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

#include <array>    // array
#include <bit>      // bit_cast
#include <cmath>    // abs, fma
#include <cstdint>  // uint16_t, uint32_t
#include <cstring>  // memcpy

namespace kedge::llm {
namespace {

constexpr std::size_t lanes = 8;  // of sums: the same parts on every processor

[[gnu::always_inline]] inline void add_scaled_body(float w, float const* x, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = std::fma(x[i], w, y[i]);
}

[[gnu::always_inline]] inline void add_difference_body(float w, float const* x, float const* base, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = std::fma(x[i] - base[i], w, y[i]);
}

[[gnu::always_inline]] inline double total(std::array<double, lanes> const& parts) {
  return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]));
}

[[gnu::always_inline]] inline double dot_body(float const* x, float const* y, std::size_t n) {
  std::array<double, lanes> parts{};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::size_t k = 0; k < lanes; ++k) parts[k] += static_cast<double>(x[i + k]) * static_cast<double>(y[i + k]);
  for (; i < n; ++i) parts[i % lanes] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return total(parts);
}

[[gnu::always_inline]] inline double magnitudes_body(float const* x, std::size_t n) {
  std::array<double, lanes> parts{};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::size_t k = 0; k < lanes; ++k) parts[k] += static_cast<double>(std::abs(x[i + k]));
  for (; i < n; ++i) parts[i % lanes] += static_cast<double>(std::abs(x[i]));
  return total(parts);
}

[[gnu::always_inline]] inline bool finite_body(float const* x, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(x[i]) & 0x7f80'0000U) == 0x7f80'0000U);
  return bad == 0;
}

// Bytes of a file may lie anywhere; memcpy of one number is a plain load.
[[gnu::always_inline]] inline void from_bf16_body(std::byte const* in, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, in + 2 * i, sizeof bits);
    out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
  }
}

[[gnu::always_inline]] inline void to_bf16_body(float const* in, std::byte* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    auto const bits = std::bit_cast<std::uint32_t>(in[i]);  // finite: checked before
    auto const rounded = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
    std::memcpy(out + 2 * i, &rounded, sizeof rounded);
  }
}

#if defined(__x86_64__) && defined(__GNUC__)
#define KEDGE_WIDE [[gnu::target("avx2,fma")]]
bool wide() {
  static bool const has = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  return has;
}
#else
#define KEDGE_WIDE
bool wide() { return false; }
#endif

KEDGE_WIDE void add_scaled_wide(float w, float const* x, float* y, std::size_t n) { add_scaled_body(w, x, y, n); }
KEDGE_WIDE void add_difference_wide(float w, float const* x, float const* b, float* y, std::size_t n) { add_difference_body(w, x, b, y, n); }
KEDGE_WIDE double dot_wide(float const* x, float const* y, std::size_t n) { return dot_body(x, y, n); }
KEDGE_WIDE double magnitudes_wide(float const* x, std::size_t n) { return magnitudes_body(x, n); }
KEDGE_WIDE bool finite_wide(float const* x, std::size_t n) { return finite_body(x, n); }
KEDGE_WIDE void from_bf16_wide(std::byte const* in, float* out, std::size_t n) { from_bf16_body(in, out, n); }
KEDGE_WIDE void to_bf16_wide(float const* in, std::byte* out, std::size_t n) { to_bf16_body(in, out, n); }
#undef KEDGE_WIDE

}  // namespace

void add_scaled(float w, std::span<float const> x, std::span<float> y) {
  wide() ? add_scaled_wide(w, x.data(), y.data(), y.size()) : add_scaled_body(w, x.data(), y.data(), y.size());
}

void add_scaled_difference(float w, std::span<float const> x, std::span<float const> base, std::span<float> y) {
  wide() ? add_difference_wide(w, x.data(), base.data(), y.data(), y.size())
         : add_difference_body(w, x.data(), base.data(), y.data(), y.size());
}

double dot(std::span<float const> x, std::span<float const> y) {
  return wide() ? dot_wide(x.data(), y.data(), x.size()) : dot_body(x.data(), y.data(), x.size());
}

double sum_of_magnitudes(std::span<float const> x) {
  return wide() ? magnitudes_wide(x.data(), x.size()) : magnitudes_body(x.data(), x.size());
}

bool all_finite(std::span<float const> x) {
  return wide() ? finite_wide(x.data(), x.size()) : finite_body(x.data(), x.size());
}

void widen(dtype from, std::span<std::byte const> in, std::span<float> out) {
  if (from != dtype::bf16) return convert(from, in, dtype::f32, std::as_writable_bytes(out));
  wide() ? from_bf16_wide(in.data(), out.data(), out.size()) : from_bf16_body(in.data(), out.data(), out.size());
}

void narrow(std::span<float const> in, dtype to, std::span<std::byte> out) {
  if (to != dtype::bf16) return convert(dtype::f32, std::as_bytes(in), to, out);
  wide() ? to_bf16_wide(in.data(), out.data(), in.size()) : to_bf16_body(in.data(), out.data(), in.size());
}

}  // namespace kedge::llm
