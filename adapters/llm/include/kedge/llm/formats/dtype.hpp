// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>          // bit_cast
#include <cstddef>      // size_t, byte
#include <cstdint>      // uint16_t, uint32_t, uint64_t
#include <optional>     // optional
#include <span>         // span
#include <string_view>  // string_view

namespace kedge::llm {

/// Number formats that a checkpoint can hold and kedge can name.
enum class dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

/// Bytes of one element.
std::size_t size_of(dtype type);

/// The format's name as safetensors spells it: "F64", "F32", "F16", "BF16", "I64", …, "BOOL".
std::string_view name_of(dtype type);

/// The format's name as a Hugging Face config spells it: "float32", "bfloat16", …
std::string_view torch_name_of(dtype type);

/// Either spelling to the format, nothing where the name is unknown.
std::optional<dtype> find_dtype(std::string_view name);

/// As find_dtype; throws kedge::llm::error for an unknown name.
dtype dtype_from_name(std::string_view name);

/// True for f64, f32, f16 and bf16.
bool is_floating(dtype type);

/// Copies numbers from one floating format to another.
/// math    widening is exact; narrowing rounds once, to nearest, ties to even, also from f64; NaN stays NaN
/// shapes  `in` holds n elements of `from`, `out` n elements of `to`; neither needs any alignment; they may not overlap
/// throws  kedge::llm::error if a format is not floating or the sizes do not match
/// cost    one pass, vectorised by the compiler
void convert(dtype from, std::span<std::byte const> in, dtype to, std::span<std::byte> out);

/// Upper half of an IEEE binary32, rounded to nearest even. NaN becomes a quiet NaN of the same sign.
constexpr std::uint16_t bf16_bits(float x) noexcept {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  std::uint32_t const rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
  std::uint32_t const nan = bits | 0x0040'0000U;
  bool const is_nan = (bits & 0x7fff'ffffU) > 0x7f80'0000U;
  return static_cast<std::uint16_t>((is_nan ? nan : rounded) >> 16);
}

constexpr float float_from_bf16(std::uint16_t bits) noexcept { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

/// IEEE binary16 of x, rounded to nearest even; overflow gives infinity, tiny values give subnormals.
constexpr std::uint16_t f16_bits(float x) noexcept {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  std::uint32_t const sign = (bits >> 16) & 0x8000U;
  std::uint32_t const magnitude = bits & 0x7fff'ffffU;
  // Normal results: move the exponent from bias 127 to 15 after rounding away 13 bits; the carry may reach infinity.
  std::uint32_t const normal = (magnitude + 0x0fffU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  // Subnormal results: 0.5 has the spacing of binary16's subnormals (2^-24), so the addition does the rounding.
  std::uint32_t const subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f00'0000U;
  std::uint32_t const special = magnitude > 0x7f80'0000U ? 0x7e00U : 0x7c00U;
  std::uint32_t const finite = magnitude < (113U << 23) ? subnormal : normal;
  return static_cast<std::uint16_t>(sign | (magnitude >= (143U << 23) ? special : finite));
}

constexpr float float_from_f16(std::uint16_t half) noexcept {
  std::uint32_t const sign = (half & 0x8000U) << 16;
  std::uint32_t const exponent = half & 0x7c00U;
  std::uint32_t const magnitude = (half & 0x7fffU) << 13;
  std::uint32_t const normal = magnitude + (112U << 23);
  std::uint32_t const special = magnitude + (224U << 23);
  auto const subnormal = std::bit_cast<std::uint32_t>(static_cast<float>(half & 0x03ffU) * 0x1p-24F);
  std::uint32_t const finite = exponent == 0 ? subnormal : normal;
  return std::bit_cast<float>(sign | (exponent == 0x7c00U ? special : finite));
}

/// Rounds once from binary64: the detour through binary32 keeps a sticky last bit, so that the second rounding sees it.
constexpr float sticky_float(double x) noexcept {
  auto const near = static_cast<float>(x);
  if (static_cast<double>(near) == x || x != x) return near;
  auto const bits = std::bit_cast<std::uint32_t>(near);
  bool const away = (near > x) == (x > 0);  // |near| > |x|: step back towards zero, then mark inexact
  return std::bit_cast<float>((away ? bits - 1U : bits) | 1U);
}

}  // namespace kedge::llm
