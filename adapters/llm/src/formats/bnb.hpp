// SPDX-License-Identifier: Apache-2.0
#pragma once

// Weights quantised as bitsandbytes does, number for number: arXiv 2208.07339 (LLM.int8) and 2305.14314 (QLoRA).

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <kedge/llm/model/base_settings.hpp>

namespace kedge::llm::bnb {

/// Numbers that share a scale, and scales that do where they are in 8 bits themselves.
inline constexpr std::size_t block = 64, scale_block = 256;

/// What the 16 codes stand for, times a block's scale.
[[nodiscard]] std::array<float, 16> const& table_of(four_bit_type type);
/// What the 256 codes of scales stand for: the signed dynamic map of arXiv 1511.04561, ascending.
[[nodiscard]] std::array<float, 256> const& dynamic_map();

/// Numbers in 4 bits, two a byte, the even one above.
struct four_bits {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;             ///< of each block; empty with double quantisation
  std::vector<std::uint8_t> scale_codes;
  std::vector<float> scale_scales;
  float offset = 0;                      ///< the mean of the scales
};
/// math    a number is code · largest |x| of its block, the nearest in the table; blocks run on from row to row
[[nodiscard]] four_bits quantise_4bit(std::span<float const> x, four_bit_type type, bool double_quant);

/// Rows in int8: x = code · scale, scale = largest |x| of the row / 127.
struct eight_bits {
  std::vector<std::uint8_t> codes;  ///< of std::int8_t
  std::vector<float> scales;        ///< of each row
};
[[nodiscard]] eight_bits quantise_8bit(std::span<float const> x, std::size_t row);

}  // namespace kedge::llm::bnb
