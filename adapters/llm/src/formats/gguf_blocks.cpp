// SPDX-License-Identifier: Apache-2.0
//
// Block formats of ggml. Every product below is of a binary16 number, a scale of at most 8 bits and a quant of at most 8
// bits, so it is exact in binary32; only the last addition rounds. The results therefore do not depend on the order of
// the factors or on fused multiply-adds, and equal those of the Python package `gguf` bit for bit.
#include <array>    // array
#include <cstring>  // memcpy
#include <string>   // to_string

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/formats/gguf.hpp>

namespace kedge::llm {
namespace {

using bytes = std::uint8_t const*;

float half_at(bytes at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return float_from_f16(bits);
}

/// 32 weights: scale d, 16 bytes of two quants each; low halves come first. x = d (q - 8)
void decode_q4_0(bytes in, float* out) {
  float const d = half_at(in);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[2 + i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((in[2 + i] >> 4) - 8);
  }
}

/// As q4_0 with a minimum m in place of the fixed 8. x = d q + m
void decode_q4_1(bytes in, float* out) {
  float const d = half_at(in);
  float const m = half_at(in + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(in[4 + i] & 15) + m;
    out[i + 16] = d * static_cast<float>(in[4 + i] >> 4) + m;
  }
}

/// Fifth bits of the 32 quants lie in one 32-bit word. x = d (q - 16)
void decode_q5_0(bytes in, float* out) {
  float const d = half_at(in);
  std::uint32_t high = 0;
  std::memcpy(&high, in + 2, sizeof high);
  for (unsigned i = 0; i < 16; ++i) {
    auto const low = static_cast<int>((in[6 + i] & 15U) | ((high >> i & 1U) << 4U));
    auto const up = static_cast<int>((in[6 + i] >> 4U) | ((high >> (i + 16) & 1U) << 4U));
    out[i] = d * static_cast<float>(low - 16);
    out[i + 16] = d * static_cast<float>(up - 16);
  }
}

void decode_q5_1(bytes in, float* out) {
  float const d = half_at(in);
  float const m = half_at(in + 2);
  std::uint32_t high = 0;
  std::memcpy(&high, in + 4, sizeof high);
  for (unsigned i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((in[8 + i] & 15U) | ((high >> i & 1U) << 4U)) + m;
    out[i + 16] = d * static_cast<float>((in[8 + i] >> 4U) | ((high >> (i + 16) & 1U) << 4U)) + m;
  }
}

void decode_q8_0(bytes in, float* out) {
  float const d = half_at(in);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<std::int8_t>(in[2 + i]));
}

/// 256 weights in 16 groups of 16; scale and minimum of a group are 4 bits each. x = d s q - d' m
void decode_q2_k(bytes in, float* out) {
  bytes const scales = in;
  bytes const quants = in + 16;
  float const d = half_at(in + 80);
  float const m = half_at(in + 82);
  for (int i = 0; i < 256; ++i) {
    int const chunk = i / 128, plane = i % 128 / 32, lane = i % 32;
    int const q = quants[32 * chunk + lane] >> (2 * plane) & 3;
    int const scale = scales[i / 16];
    out[i] = d * static_cast<float>(scale & 15) * static_cast<float>(q) - m * static_cast<float>(scale >> 4);
  }
}

/// 256 weights in 16 groups; quants have 2 low bits and a third that, where clear, subtracts 4; scales are 6 bits.
void decode_q3_k(bytes in, float* out) {
  bytes const high = in;
  bytes const quants = in + 32;
  bytes const packed = in + 96;
  float const d = half_at(in + 108);
  std::array<int, 16> scales{};
  for (unsigned g = 0; g < 16; ++g) {
    unsigned const low = g < 8 ? packed[g] & 15U : packed[g - 8] >> 4U;
    unsigned const up = packed[8 + g % 4] >> (2 * (g / 4)) & 3U;
    scales[g] = static_cast<int>(low | up << 4U) - 32;
  }
  for (unsigned i = 0; i < 256; ++i) {
    unsigned const chunk = i / 128, plane = i % 128 / 32, lane = i % 32;
    int const low = quants[32 * chunk + lane] >> (2 * plane) & 3;
    int const q = low - ((high[lane] >> (i / 32) & 1) != 0 ? 0 : 4);
    out[i] = d * static_cast<float>(scales[i / 16]) * static_cast<float>(q);
  }
}

/// Scale and minimum (6 bits each) of group g of 8, as q4_K and q5_K pack them into 12 bytes.
struct scale_and_minimum {
  float scale;
  float minimum;
};
scale_and_minimum unpack(bytes packed, int g) {
  if (g < 4) return {static_cast<float>(packed[g] & 63), static_cast<float>(packed[g + 4] & 63)};
  int const scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6 << 4);
  int const minimum = (packed[g + 4] >> 4) | (packed[g] >> 6 << 4);
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

/// 256 weights in 8 groups of 32; two groups share 32 bytes. x = d s q - d' m
void decode_q4_k(bytes in, float* out) {
  float const d = half_at(in);
  float const m = half_at(in + 2);
  for (int g = 0; g < 8; ++g) {
    auto const [scale, minimum] = unpack(in + 4, g);
    float const step = d * scale;
    float const below = m * minimum;
    bytes const quants = in + 16 + 32 * (g / 2);
    for (int i = 0; i < 32; ++i) out[32 * g + i] = step * static_cast<float>(quants[i] >> (4 * (g % 2)) & 15) - below;
  }
}

/// As q4_K, with fifth bits in 32 bytes: bit g of byte i belongs to weight i of group g.
void decode_q5_k(bytes in, float* out) {
  float const d = half_at(in);
  float const m = half_at(in + 2);
  bytes const high = in + 16;
  for (int g = 0; g < 8; ++g) {
    auto const [scale, minimum] = unpack(in + 4, g);
    float const step = d * scale;
    float const below = m * minimum;
    bytes const quants = in + 48 + 32 * (g / 2);
    for (int i = 0; i < 32; ++i) {
      int const q = (quants[i] >> (4 * (g % 2)) & 15) | ((high[i] >> g & 1) << 4);
      out[32 * g + i] = step * static_cast<float>(q) - below;
    }
  }
}

/// 256 weights in 16 groups with 8-bit scales; quants have 4 low and 2 high bits. x = d s (q - 32)
void decode_q6_k(bytes in, float* out) {
  bytes const low = in;
  bytes const high = in + 128;
  bytes const scales = in + 192;
  float const d = half_at(in + 208);
  for (int i = 0; i < 256; ++i) {
    int const chunk = i / 128, plane = i % 128 / 32, lane = i % 32;
    int const nibble = low[64 * chunk + 32 * (plane % 2) + lane] >> (4 * (plane / 2)) & 15;
    int const q = (nibble | ((high[32 * chunk + lane] >> (2 * plane) & 3) << 4)) - 32;
    out[i] = d * static_cast<float>(static_cast<std::int8_t>(scales[i / 16])) * static_cast<float>(q);
  }
}

struct format {
  std::uint32_t type;
  gguf_block block;
  void (*decode)(bytes, float*);  // null for plain numbers
  dtype plain = dtype::f32;       // what they are
};

constexpr std::array<format, 14> formats{{
    {0, {1, 4}, nullptr, dtype::f32},
    {1, {1, 2}, nullptr, dtype::f16},
    {2, {32, 18}, decode_q4_0},
    {3, {32, 20}, decode_q4_1},
    {6, {32, 22}, decode_q5_0},
    {7, {32, 24}, decode_q5_1},
    {8, {32, 34}, decode_q8_0},
    {10, {256, 84}, decode_q2_k},
    {11, {256, 110}, decode_q3_k},
    {12, {256, 144}, decode_q4_k},
    {13, {256, 176}, decode_q5_k},
    {14, {256, 210}, decode_q6_k},
    {30, {1, 2}, nullptr, dtype::bf16},
    {28, {1, 8}, nullptr, dtype::f64},
}};

format const* find_format(std::uint32_t type) {
  for (auto const& f : formats)
    if (f.type == type) return &f;
  return nullptr;
}

}  // namespace

std::string gguf_type_name(std::uint32_t type) {
  static constexpr std::array<char const*, 40> names{
      "F32",    "F16",   "Q4_0",  "Q4_1",   nullptr, nullptr, "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
      "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
      "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
      "BF16",   nullptr, nullptr, nullptr,  "TQ1_0", "TQ2_0", nullptr,   nullptr,  nullptr,   "MXFP4"};
  if (type < names.size() && names[type] != nullptr) return names[type];
  return "type " + std::to_string(type);
}

std::optional<dtype> gguf_plain_type(std::uint32_t type) {
  auto const* known = find_format(type);
  return known == nullptr || known->decode != nullptr ? std::nullopt : std::optional<dtype>{known->plain};
}

std::optional<gguf_block> gguf_block_of(std::uint32_t type) {
  auto const* known = find_format(type);
  return known == nullptr ? std::nullopt : std::optional<gguf_block>{known->block};
}

void dequantise(std::uint32_t type, std::span<std::byte const> in, std::span<float> out) {
  auto const* known = find_format(type);
  if (known == nullptr)
    throw error("weights stored as " + gguf_type_name(type) +
                " cannot be decoded; use a file with F32, F16, BF16, Q8_0, "
                "Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K weights");
  auto const [elements, size] = known->block;
  if (in.size() % size != 0 || in.size() / size * elements != out.size())
    throw error(std::to_string(in.size()) + " bytes of " + gguf_type_name(type) + " do not decode to " +
                std::to_string(out.size()) + " numbers; pass whole blocks and a buffer of their length");
  if (known->decode == nullptr) return convert(known->plain, in, dtype::f32, std::as_writable_bytes(out));
  auto const* at = reinterpret_cast<bytes>(in.data());
  for (std::size_t b = 0; b < in.size() / size; ++b) known->decode(at + b * size, out.data() + b * elements);
}

}  // namespace kedge::llm
