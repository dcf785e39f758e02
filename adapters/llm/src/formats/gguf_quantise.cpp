// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // clamp, max, minmax_element
#include <array>      // array
#include <cmath>      // abs, copysign, floor, trunc
#include <cstring>    // memcpy

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/formats/gguf_quantise.hpp>

namespace kedge::llm {
namespace {

void put_half(float x, std::uint8_t* out) {
  std::uint16_t const bits = f16_bits(x);
  std::memcpy(out, &bits, sizeof bits);
}
float as_half(float x) { return float_from_f16(f16_bits(x)); }

/// Half away from zero, as C's roundf.
float rounded(float x) {
  float const magnitude = std::abs(x), whole = std::floor(magnitude);
  return std::copysign(whole + std::floor(2 * (magnitude - whole)), x);
}

void encode_q8_0(float const* x, std::uint8_t* out) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[i]));
  float const d = largest / 127, inverse = d == 0 ? 0 : 1 / d;
  put_half(d, out);
  for (int i = 0; i < 32; ++i) out[2 + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(rounded(x[i] * inverse)));
}

void encode_q4_0(float const* x, std::uint8_t* out) {
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  float const d = extreme / -8, inverse = d == 0 ? 0 : 1 / d;
  auto const quant = [&](int i) { return static_cast<unsigned>(std::clamp(std::trunc(x[i] * inverse + 8.5F), 0.0F, 15.0F)); };
  put_half(d, out);
  for (int i = 0; i < 16; ++i) out[2 + i] = static_cast<std::uint8_t>(quant(i) | quant(i + 16) << 4U);
}

constexpr int group_size = 32;

/// x ≈ scale · q − minimum, q = 0 … 15, both not negative.
struct line_fit {
  float scale = 0, minimum = 0;
};

float nearest_quant(float x, line_fit const& fit) {
  return fit.scale > 0 ? std::clamp(std::floor((x + fit.minimum) / fit.scale + 0.5F), 0.0F, 15.0F) : 0.0F;
}

float squared_error(float const* x, line_fit const& fit) {
  float sum = 0;
  for (int i = 0; i < group_size; ++i) {
    float const e = fit.scale * nearest_quant(x[i], fit) - fit.minimum - x[i];
    sum += e * e;
  }
  return sum;
}

/// The least squares of scale and minimum for the quants that `fit` leads to.
line_fit refined(float const* x, line_fit const& fit) {
  double q1 = 0, q2 = 0, x1 = 0, qx = 0;
  for (int i = 0; i < group_size; ++i) {
    double const q = nearest_quant(x[i], fit), v = x[i];
    q1 += q;
    q2 += q * q;
    x1 += v;
    qx += q * v;
  }
  double const determinant = group_size * q2 - q1 * q1;
  if (determinant <= 0) return fit;
  double scale = (group_size * qx - q1 * x1) / determinant, minimum = (q1 * scale - x1) / group_size;
  if (minimum < 0) {  // the line goes through the origin
    minimum = 0;
    scale = qx / q2;
  }
  return {static_cast<float>(std::max(scale, 0.0)), static_cast<float>(minimum)};
}

line_fit fit_group(float const* x) {
  auto const [low, high] = std::minmax_element(x, x + group_size);
  float const bottom = std::min(*low, 0.0F), range = *high - bottom;
  if (!(range > 0)) return {0, -bottom};
  line_fit best{range / 15, -bottom};
  float least = squared_error(x, best);
  for (int step = -5; step <= 10; ++step) {  // 14 to 17 levels over the range: the ends may be cut
    line_fit const start{range / (15 + 0.2F * static_cast<float>(step)), -bottom};
    line_fit const fit = refined(x, start);
    if (float const e = squared_error(x, fit); e < least) {
      least = e;
      best = fit;
    }
  }
  return best;
}

/// Six bits of each of eight scales and minimums in twelve bytes, as the decoder takes them apart.
void pack(std::array<unsigned, 8> const& scales, std::array<unsigned, 8> const& minimums, std::uint8_t* out) {
  for (std::size_t g = 0; g < 4; ++g) {
    out[g] = static_cast<std::uint8_t>(scales[g] | scales[g + 4] >> 4U << 6U);
    out[g + 4] = static_cast<std::uint8_t>(minimums[g] | minimums[g + 4] >> 4U << 6U);
    out[g + 8] = static_cast<std::uint8_t>((scales[g + 4] & 15U) | (minimums[g + 4] & 15U) << 4U);
  }
}

void encode_q4_k(float const* x, std::uint8_t* out) {
  std::array<line_fit, 8> fits;
  float scale = 0, minimum = 0;
  for (std::size_t g = 0; g < 8; ++g) {
    fits[g] = fit_group(x + group_size * g);
    scale = std::max(scale, fits[g].scale);
    minimum = std::max(minimum, fits[g].minimum);
  }
  put_half(scale / 63, out);
  put_half(minimum / 63, out + 2);
  float const d = as_half(scale / 63), m = as_half(minimum / 63);
  auto const six_bits = [](float value, float step) {
    return step > 0 ? static_cast<unsigned>(std::clamp(std::floor(value / step + 0.5F), 0.0F, 63.0F)) : 0U;
  };
  std::array<unsigned, 8> scales{}, minimums{};
  for (std::size_t g = 0; g < 8; ++g) {
    scales[g] = six_bits(fits[g].scale, d);
    minimums[g] = six_bits(fits[g].minimum, m);
    fits[g] = {d * static_cast<float>(scales[g]), m * static_cast<float>(minimums[g])};
  }
  pack(scales, minimums, out + 4);
  for (std::size_t g = 0; g < 8; g += 2)
    for (std::size_t i = 0; i < group_size; ++i) {
      auto const quant = [&](std::size_t group) { return static_cast<unsigned>(nearest_quant(x[group_size * group + i], fits[group])); };
      out[16 + 16 * g + i] = static_cast<std::uint8_t>(quant(g) | quant(g + 1) << 4U);
    }
}

}  // namespace

void quantise(gguf_storage type, std::span<float const> in, std::span<std::byte> out) {
  auto const number = static_cast<std::uint32_t>(type);
  auto const [elements, size] = *gguf_block_of(number);
  if (in.size() % elements != 0 || in.size() / elements * size != out.size())
    throw error(std::to_string(in.size()) + " numbers are no whole blocks of " + std::string{name_of(type)} + " in " + std::to_string(out.size()) + " bytes");
  if (auto const plain = gguf_plain_type(number)) return convert(dtype::f32, std::as_bytes(in), *plain, out);
  auto* const encode = type == gguf_storage::q8_0 ? encode_q8_0 : type == gguf_storage::q4_0 ? encode_q4_0 : encode_q4_k;
  auto* const bytes = reinterpret_cast<std::uint8_t*>(out.data());
  for (std::size_t b = 0; b < in.size() / elements; ++b) encode(in.data() + b * elements, bytes + b * size);
}

}  // namespace kedge::llm
