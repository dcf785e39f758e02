// SPDX-License-Identifier: Apache-2.0
//
// Block formats of ggml. Every product below is of a binary16 number, a scale of at most 8 bits and a quant of at most 8
// bits, so it is exact in binary32; only the last addition rounds. The results therefore do not depend on the order of
// the factors or on fused multiply-adds, and equal those of the Python package `gguf` bit for bit.
#include <algorithm>  // reverse
#include <array>      // array
#include <cstring>    // memcpy
#include <string>     // to_string

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/dtype.hpp>
#include <kedge/llm/formats/gguf.hpp>

#include "gguf_codebooks.hpp"

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

/// A run of numbers in a block that have an order of bytes.
struct word_run {
  std::size_t width = 0, offset = 0, count = 0;
};

struct format {
  std::uint32_t type;
  char const* name;
  gguf_block block;
  void (*decode)(bytes, float*);          // null for plain numbers
  dtype plain = dtype::f32;               // what they are
  word_run words[2] = {};                 // none: kedge doesn't know how machines of the other order of bytes write it
};

constexpr std::array formats{
    format{0, "F32", {1, 4}, nullptr, dtype::f32, {{4, 0, 1}}},
    format{1, "F16", {1, 2}, nullptr, dtype::f16, {{2, 0, 1}}},
    format{2, "Q4_0", {32, 18}, decode_q4_0, {}, {{2, 0, 1}}},
    format{3, "Q4_1", {32, 20}, decode_q4_1, {}, {{2, 0, 2}}},
    format{6, "Q5_0", {32, 22}, decode_q5_0, {}, {{2, 0, 1}, {4, 2, 1}}},
    format{7, "Q5_1", {32, 24}, decode_q5_1, {}, {{2, 0, 2}, {4, 4, 1}}},
    format{8, "Q8_0", {32, 34}, decode_q8_0, {}, {{2, 0, 1}}},
    format{10, "Q2_K", {256, 84}, decode_q2_k, {}, {{2, 80, 2}}},
    format{11, "Q3_K", {256, 110}, decode_q3_k, {}, {{2, 108, 1}}},
    format{12, "Q4_K", {256, 144}, decode_q4_k, {}, {{2, 0, 2}}},
    format{13, "Q5_K", {256, 176}, decode_q5_k, {}, {{2, 0, 2}}},
    format{14, "Q6_K", {256, 210}, decode_q6_k, {}, {{2, 208, 1}}},
    format{16, "IQ2_XXS", {256, 66}, decode_iq2_xxs},
    format{17, "IQ2_XS", {256, 74}, decode_iq2_xs},
    format{18, "IQ3_XXS", {256, 98}, decode_iq3_xxs},
    format{19, "IQ1_S", {256, 50}, decode_iq1_s},
    format{20, "IQ4_NL", {32, 18}, decode_iq4_nl, {}, {{2, 0, 1}}},
    format{21, "IQ3_S", {256, 110}, decode_iq3_s},
    format{22, "IQ2_S", {256, 82}, decode_iq2_s},
    format{23, "IQ4_XS", {256, 136}, decode_iq4_xs, {}, {{2, 0, 2}}},
    format{24, "I8", {1, 1}, nullptr, dtype::i8, {{1, 0, 1}}},
    format{25, "I16", {1, 2}, nullptr, dtype::i16, {{2, 0, 1}}},
    format{26, "I32", {1, 4}, nullptr, dtype::i32, {{4, 0, 1}}},
    format{27, "I64", {1, 8}, nullptr, dtype::i64, {{8, 0, 1}}},
    format{28, "F64", {1, 8}, nullptr, dtype::f64, {{8, 0, 1}}},
    format{29, "IQ1_M", {256, 56}, decode_iq1_m},
    format{30, "BF16", {1, 2}, nullptr, dtype::bf16, {{2, 0, 1}}},
    format{34, "TQ1_0", {256, 54}, decode_tq1_0, {}, {{2, 52, 1}}},
    format{35, "TQ2_0", {256, 66}, decode_tq2_0, {}, {{2, 64, 1}}},
    format{39, "MXFP4", {32, 17}, decode_mxfp4, {}, {{1, 0, 1}}},
    format{40, "NVFP4", {64, 36}, decode_nvfp4, {}, {{1, 0, 1}}},
    format{41, "Q1_0", {128, 18}, decode_q1_0, {}, {{2, 0, 1}}},
    format{42, "Q2_0", {64, 18}, decode_q2_0, {}, {{2, 0, 1}}},
};

format const* find_format(std::uint32_t type) {
  for (auto const& f : formats)
    if (f.type == type) return &f;
  return nullptr;
}

}  // namespace

std::string gguf_type_name(std::uint32_t type) {
  auto const* known = find_format(type);
  if (known != nullptr) return known->name;
  return type == 9 ? "Q8_1" : type == 15 ? "Q8_K" : "type " + std::to_string(type);
}

std::optional<dtype> gguf_plain_type(std::uint32_t type) {
  auto const* known = find_format(type);
  return known == nullptr || known->decode != nullptr ? std::nullopt : std::optional<dtype>{known->plain};
}

std::optional<gguf_block> gguf_block_of(std::uint32_t type) {
  auto const* known = find_format(type);
  return known == nullptr ? std::nullopt : std::optional<gguf_block>{known->block};
}

gguf_block_decoder gguf_decoder_of(std::uint32_t type) {
  auto const* known = find_format(type);
  return known == nullptr ? nullptr : known->decode;
}

std::string gguf_type_names() {
  std::string names;
  for (auto const& known : formats)
    if (known.decode != nullptr || is_floating(known.plain)) names += (names.empty() ? "" : ", ") + std::string{known.name};
  return names;
}

std::optional<std::uint32_t> find_gguf_type(std::string_view name) {
  for (auto const& known : formats)
    if (known.name == name) return known.type;
  return std::nullopt;
}

bool turn_bytes(std::uint32_t type, std::span<std::byte> blocks) {
  auto const* known = find_format(type);
  if (known == nullptr || known->words[0].count == 0) return false;
  for (std::size_t block = 0; block < blocks.size(); block += known->block.bytes)
    for (auto const& [width, offset, count] : known->words)
      for (std::size_t i = 0; i < count; ++i) {
        auto const word = blocks.subspan(block + offset + i * width, width);
        std::reverse(word.begin(), word.end());
      }
  return true;
}

void dequantise(std::uint32_t type, std::span<std::byte const> in, std::span<float> out) {
  auto const* known = find_format(type);
  if (known == nullptr)
    throw error("weights stored as " + gguf_type_name(type) + " cannot be decoded; use a file in another format (" + gguf_type_names() + ")");
  auto const [elements, size] = known->block;
  if (in.size() % size != 0 || in.size() / size * elements != out.size())
    throw error(std::to_string(in.size()) + " bytes of " + gguf_type_name(type) + " do not decode to " +
                std::to_string(out.size()) + " numbers; pass whole blocks and a buffer of their length");
  if (known->decode == nullptr) return convert(known->plain, in, dtype::f32, std::as_writable_bytes(out));
  auto const* at = reinterpret_cast<bytes>(in.data());
  for (std::size_t b = 0; b < in.size() / size; ++b) known->decode(at + b * size, out.data() + b * elements);
}

}  // namespace kedge::llm
