// SPDX-License-Identifier: Apache-2.0
#include "bnb.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kedge::llm::bnb {
namespace {

constexpr std::array<float, 16> nf4{-1.0F,
                                    -0.6961928009986877F,
                                    -0.5250730514526367F,
                                    -0.39491748809814453F,
                                    -0.28444138169288635F,
                                    -0.18477343022823334F,
                                    -0.09105003625154495F,
                                    0.0F,
                                    0.07958029955625534F,
                                    0.16093020141124725F,
                                    0.24611230194568634F,
                                    0.33791524171829224F,
                                    0.44070982933044434F,
                                    0.5626170039176941F,
                                    0.7229568362236023F,
                                    1.0F};
constexpr std::array<float, 16> fp4{0.0F / 12,  0.0625F / 12,  8.0F / 12,  12.0F / 12,  4.0F / 12,  6.0F / 12,  2.0F / 12,  3.0F / 12,
                                    -0.0F / 12, -0.0625F / 12, -8.0F / 12, -12.0F / 12, -4.0F / 12, -6.0F / 12, -2.0F / 12, -3.0F / 12};

/// The nearest of some numbers: how many middles between neighbours are below, and which code that is.
struct nearest {
  std::vector<float> middles;
  std::vector<std::uint8_t> codes;

  explicit nearest(std::span<float const> table) : codes(table.size()) {
    std::iota(codes.begin(), codes.end(), std::uint8_t{0});
    std::stable_sort(codes.begin(), codes.end(), [&](std::uint8_t a, std::uint8_t b) { return table[a] < table[b]; });
    for (std::size_t i = 1; i < codes.size(); ++i) middles.push_back((table[codes[i - 1]] + table[codes[i]]) / 2);
  }
  [[nodiscard]] std::uint8_t of(float x) const {
    return codes[static_cast<std::size_t>(std::lower_bound(middles.begin(), middles.end(), x) - middles.begin())];
  }
};

float largest(std::span<float const> x) {
  float most = 0;
  for (float const v : x) most = std::max(most, std::abs(v));
  return most;
}

/// f(scale, begin, end) of each block. returns  the scales
template <class F>
std::vector<float> each_block(std::span<float const> x, std::size_t size, F const& f) {
  constexpr float least = 1e-38F;
  std::vector<float> scales;
  for (std::size_t begin = 0; begin < x.size(); begin += size) {
    std::size_t const end = std::min(begin + size, x.size());
    bool const whole = end - begin == size;
    float const most = largest(x.subspan(begin, end - begin)), floor = std::max(most, least);
    scales.push_back(whole ? most : floor);
    float const inverse = 1.0F / floor;
    for (std::size_t i = begin; i < end; ++i) f(i, std::clamp(whole ? x[i] * inverse : x[i] / floor, -1.0F, 1.0F));
  }
  return scales;
}

void in_8_bits(four_bits& of) {
  static nearest const known(dynamic_map());
  double sum = 0;
  for (float const s : of.scales) sum += static_cast<double>(s);
  of.offset = static_cast<float>(sum / static_cast<double>(of.scales.size()));
  for (float& s : of.scales) s -= of.offset;
  of.scale_codes.resize(of.scales.size());
  of.scale_scales = each_block(of.scales, scale_block, [&](std::size_t i, float x) { of.scale_codes[i] = known.of(x); });
  of.scales.clear();
  of.scales.shrink_to_fit();
}

}  // namespace

std::array<float, 16> const& table_of(four_bit_type type) { return type == four_bit_type::nf4 ? nf4 : fp4; }

std::array<float, 256> const& dynamic_map() {
  static std::array<float, 256> const map = [] {
    std::array<float, 256> all{};
    std::size_t n = 0;
    for (int i = 0; i < 7; ++i) {
      int const items = 1 << i;
      double const power = std::pow(10.0, i - 6);
      // torch.linspace from 0.1 to 1 in fp32: from both ends to the middle.
      float const step = (1.0F - 0.1F) / static_cast<float>(items);
      auto const boundary = [&](int j) { return j < (items + 1) / 2 ? 0.1F + step * static_cast<float>(j) : 1.0F - step * static_cast<float>(items - j); };
      for (int j = 0; j < items; ++j) {
        float const mean = (boundary(j) + boundary(j + 1)) / 2.0F;
        all[n++] = static_cast<float>(power * static_cast<double>(mean));
        all[n] = -all[n - 1];
        ++n;
      }
    }
    all[n++] = 0;
    all[n++] = 1;
    std::sort(all.begin(), all.end());
    return all;
  }();
  return map;
}

four_bits quantise_4bit(std::span<float const> x, four_bit_type type, bool double_quant) {
  nearest const known(table_of(type));
  four_bits out;
  out.codes.resize((x.size() + 1) / 2);
  out.scales = each_block(x, block, [&](std::size_t i, float v) {
    std::uint8_t const code = known.of(v);
    out.codes[i / 2] = static_cast<std::uint8_t>(i % 2 == 0 ? code << 4U : out.codes[i / 2] | code);
  });
  if (double_quant) in_8_bits(out);
  return out;
}

eight_bits quantise_8bit(std::span<float const> x, std::size_t row) {
  eight_bits out;
  out.codes.resize(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += row) {
    std::span<float const> const numbers = x.subspan(begin, row);
    float const most = largest(numbers), factor = most > 0 ? 127.0F / most : 0;
    out.scales.push_back(most * 7.874015718698502e-3F);
    for (std::size_t i = 0; i < row; ++i) out.codes[begin + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(std::nearbyint(numbers[i] * factor)));
  }
  return out;
}

}  // namespace kedge::llm::bnb
