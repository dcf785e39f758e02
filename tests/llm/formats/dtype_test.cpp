// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/dtype.hpp>

#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

/// `bits` is the nearest number to x among its neighbours in a 16-bit format, and the even one of two that are equally near.
template <class Widen>
bool is_nearest_even(double x, std::uint16_t bits, Widen widen) {
  double const distance = std::abs(static_cast<double>(widen(bits)) - x);
  for (int const step : {-1, 1}) {
    auto const neighbour = static_cast<std::uint16_t>(bits + step);
    if ((neighbour & 0x8000U) != (bits & 0x8000U)) continue;  // past zero
    double const other = std::abs(static_cast<double>(widen(neighbour)) - x);
    if (other < distance || (other == distance && bits % 2 != 0)) return false;
  }
  return true;
}

template <class In, class Out>
std::vector<Out> converted(dtype from, std::vector<In> const& in, dtype to) {
  std::vector<Out> out(in.size());
  convert(from, std::as_bytes(std::span{in}), to, std::as_writable_bytes(std::span{out}));
  return out;
}

}  // namespace

TEST_CASE("every binary16 number survives the way to binary32 and back", "[dtype]") {
  int changed = 0;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    float const wide = float_from_f16(static_cast<std::uint16_t>(bits));
    bool const nan = (bits & 0x7fffU) > 0x7c00U;
    if (nan ? !std::isnan(float_from_f16(f16_bits(wide))) : f16_bits(wide) != bits) ++changed;
  }
  CHECK(changed == 0);
  CHECK(float_from_f16(0x0001) == 0x1p-24F);
  CHECK(float_from_f16(0x7bff) == 65504.0F);
}

TEST_CASE("narrowing rounds to nearest and ties to even for subnormal numbers too", "[dtype]") {
  std::mt19937 random(1);
  int wrong = 0;
  for (int i = 0; i < 300000; ++i) {
    auto const bits = static_cast<std::uint32_t>(random());
    // Every third number lies exactly between two of the narrow format.
    auto const x = std::bit_cast<float>(i % 3 == 0 ? (bits & 0xffff'0000U) | 0x8000U : bits);
    if (!std::isfinite(x)) continue;
    if (std::abs(x) < 3.38e38F && !is_nearest_even(x, bf16_bits(x), float_from_bf16)) ++wrong;
    auto const small =
        std::bit_cast<float>((bits & 0x8fff'e000U) % 0x8fff'0000U | (i % 2 == 0 ? 0x1000U : bits & 0xfffU) | 0x3000'0000U);
    if (std::abs(small) < 65504.0F && !is_nearest_even(small, f16_bits(small), float_from_f16)) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(f16_bits(65519.9F) == 0x7bff);
  CHECK(f16_bits(65520.0F) == 0x7c00);
  CHECK(f16_bits(-1e30F) == 0xfc00);
  CHECK(f16_bits(0x1p-25F) == 0);
  CHECK(f16_bits(0x1.8p-25F) == 1);
}

TEST_CASE("NaN stays NaN and infinity and the sign of zero are kept", "[dtype]") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  auto const sneaky = std::bit_cast<float>(0x7f80'0001U);  // all of its payload is rounded away
  for (float const x : {nan, sneaky, -sneaky}) {
    CHECK(std::isnan(float_from_bf16(bf16_bits(x))));
    CHECK(std::isnan(float_from_f16(f16_bits(x))));
  }
  float const infinity = std::numeric_limits<float>::infinity();
  CHECK(float_from_bf16(bf16_bits(-infinity)) == -infinity);
  CHECK(float_from_f16(f16_bits(infinity)) == infinity);
  CHECK(bf16_bits(-0.0F) == 0x8000);
  CHECK(f16_bits(-0.0F) == 0x8000);
}

TEST_CASE("binary64 is rounded once and not twice", "[dtype]") {
  // A hair above a tie: rounding to binary32 first would land on the tie and then go down.
  std::vector<double> const above{1 + 0x1p-8 + 0x1p-40, -1 - 0x1p-8 - 0x1p-40, 1 + 0x1p-11 + 0x1p-40, 1e-60, -1e300};
  auto const brain = converted<double, std::uint16_t>(dtype::f64, above, dtype::bf16);
  CHECK(float_from_bf16(brain[0]) == 1 + 0x1p-7F);
  CHECK(float_from_bf16(brain[1]) == -1 - 0x1p-7F);
  CHECK(brain[3] == 0);
  CHECK(float_from_bf16(brain[4]) == -std::numeric_limits<float>::infinity());
  auto const half = converted<double, std::uint16_t>(dtype::f64, above, dtype::f16);
  CHECK(float_from_f16(half[2]) == 1 + 0x1p-10F);
}

TEST_CASE("arrays of any length and alignment convert like single numbers", "[dtype]") {
  std::vector<float> numbers;
  for (int i = 0; i < 131; ++i) numbers.push_back(static_cast<float>(i - 60) * 0.37F);
  for (std::size_t const n : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{131}}) {
    std::vector<std::byte> in(4 * n + 1);
    std::vector<std::byte> out(2 * n + 1);
    if (n > 0) std::memcpy(in.data() + 1, numbers.data(), 4 * n);
    convert(dtype::f32, std::span{in}.subspan(1), dtype::bf16, std::span{out}.subspan(1));
    std::size_t same = 0;
    for (std::size_t i = 0; i < n; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, out.data() + 1 + 2 * i, 2);
      same += bits == bf16_bits(numbers[i]) ? 1U : 0U;
    }
    CHECK(same == n);
  }
  auto const wide = converted<float, double>(dtype::f32, numbers, dtype::f64);
  CHECK(wide[130] == static_cast<double>(numbers[130]));
}

TEST_CASE("formats are named as safetensors and as Hugging Face name them", "[dtype]") {
  CHECK(name_of(dtype::bf16) == "BF16");
  CHECK(torch_name_of(dtype::bf16) == "bfloat16");
  CHECK(dtype_from_name("F16") == dtype::f16);
  CHECK(dtype_from_name("float64") == dtype::f64);
  CHECK(size_of(dtype::boolean) == 1);
  CHECK_FALSE(find_dtype("bf16").has_value());
  CHECK_THROWS_WITH(dtype_from_name("float8"), kedge::testing::contains("'float8'"));
  std::vector<std::int32_t> const integers{1};
  std::vector<float> out(1);
  CHECK_THROWS_AS(convert(dtype::i32, std::as_bytes(std::span{integers}), dtype::f32, std::as_writable_bytes(std::span{out})),
                  error);
  CHECK_THROWS_AS(convert(dtype::f64, std::as_bytes(std::span{integers}), dtype::f32, std::as_writable_bytes(std::span{out})),
                  error);
}
