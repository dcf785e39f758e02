// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // find_if
#include <array>      // array
#include <cstring>    // memcpy
#include <string>     // string

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {
namespace {

static_assert(std::endian::native == std::endian::little, "checkpoint formats are little-endian");

struct description {
  dtype type;
  std::size_t size;
  std::string_view name;
  std::string_view torch_name;
};

constexpr std::array<description, 13> descriptions{{
    {dtype::f64, 8, "F64", "float64"},
    {dtype::f32, 4, "F32", "float32"},
    {dtype::f16, 2, "F16", "float16"},
    {dtype::bf16, 2, "BF16", "bfloat16"},
    {dtype::i64, 8, "I64", "int64"},
    {dtype::i32, 4, "I32", "int32"},
    {dtype::i16, 2, "I16", "int16"},
    {dtype::i8, 1, "I8", "int8"},
    {dtype::u64, 8, "U64", "uint64"},
    {dtype::u32, 4, "U32", "uint32"},
    {dtype::u16, 2, "U16", "uint16"},
    {dtype::u8, 1, "U8", "uint8"},
    {dtype::boolean, 1, "BOOL", "bool"},
}};

description const& describe(dtype type) {
  return *std::find_if(descriptions.begin(), descriptions.end(), [&](auto const& d) { return d.type == type; });
}

/// Applies `f` to n elements. Blocks of a fixed length let the compiler vectorise at -O2; memcpy asks for no alignment.
template <class In, class Out, class F>
void transform(std::span<std::byte const> in, std::span<std::byte> out, F f) {
  constexpr std::size_t block = 64;
  std::array<In, block> source{};
  std::array<Out, block> result{};
  std::size_t const n = in.size() / sizeof(In);
  std::size_t i = 0;
  for (; i + block <= n; i += block) {
    std::memcpy(source.data(), in.data() + i * sizeof(In), sizeof source);
    for (std::size_t k = 0; k < block; ++k) result[k] = f(source[k]);
    std::memcpy(out.data() + i * sizeof(Out), result.data(), sizeof result);
  }
  for (; i < n; ++i) {
    std::memcpy(source.data(), in.data() + i * sizeof(In), sizeof(In));
    result[0] = f(source[0]);
    std::memcpy(out.data() + i * sizeof(Out), result.data(), sizeof(Out));
  }
}

template <class In, class Widen>
void convert_from(std::span<std::byte const> in, dtype to, std::span<std::byte> out, Widen widen) {
  if (to == dtype::f64) return transform<In, double>(in, out, [&](In x) { return static_cast<double>(widen(x)); });
  if (to == dtype::f32) return transform<In, float>(in, out, [&](In x) { return static_cast<float>(widen(x)); });
  auto const narrow = [&](In x) {
    if constexpr (std::is_same_v<In, double>)
      return sticky_float(x);
    else
      return widen(x);
  };
  if (to == dtype::f16) return transform<In, std::uint16_t>(in, out, [&](In x) { return f16_bits(narrow(x)); });
  transform<In, std::uint16_t>(in, out, [&](In x) { return bf16_bits(narrow(x)); });
}

}  // namespace

std::size_t size_of(dtype type) { return describe(type).size; }
std::string_view name_of(dtype type) { return describe(type).name; }
std::string_view torch_name_of(dtype type) { return describe(type).torch_name; }

std::optional<dtype> find_dtype(std::string_view name) {
  for (auto const& d : descriptions)
    if (d.name == name || d.torch_name == name) return d.type;
  return std::nullopt;
}

dtype dtype_from_name(std::string_view name) {
  if (auto const type = find_dtype(name)) return *type;
  throw error("unknown number format " + in_quotes(name) + "; known are float32, bfloat16, float16, float64 and integers");
}

bool is_floating(dtype type) { return type == dtype::f64 || type == dtype::f32 || type == dtype::f16 || type == dtype::bf16; }

void convert(dtype from, std::span<std::byte const> in, dtype to, std::span<std::byte> out) {
  if (!is_floating(from) || !is_floating(to))
    throw error("cannot convert " + std::string{name_of(from)} + " to " + std::string{name_of(to)} +
                "; only floating formats are converted");
  if (in.size() % size_of(from) != 0 || in.size() / size_of(from) * size_of(to) != out.size())
    throw error("cannot convert " + std::to_string(in.size()) + " bytes of " + std::string{name_of(from)} + " into " +
                std::to_string(out.size()) + " bytes of " + std::string{name_of(to)} + "; pass buffers of equal length");
  if (in.empty()) return;
  if (from == to) {
    std::memcpy(out.data(), in.data(), in.size());
    return;
  }
  switch (from) {
    case dtype::f64:
      return convert_from<double>(in, to, out, [](double x) { return x; });
    case dtype::f32:
      return convert_from<float>(in, to, out, [](float x) { return x; });
    case dtype::f16:
      return convert_from<std::uint16_t>(in, to, out, [](std::uint16_t x) { return float_from_f16(x); });
    default:
      return convert_from<std::uint16_t>(in, to, out, [](std::uint16_t x) { return float_from_bf16(x); });
  }
}

}  // namespace kedge::llm
