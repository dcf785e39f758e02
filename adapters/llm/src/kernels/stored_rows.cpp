// SPDX-License-Identifier: Apache-2.0
#include "stored_rows.hpp"

#include <array>
#include <string_view>
#include <utility>

#include <kedge/llm/formats/gguf.hpp>

namespace kedge::llm {
namespace {

// Formats whose blocks the kernels decode by vectors; ggml's names.
constexpr std::array<std::pair<std::string_view, row_format>, 10> known_formats{
    {{"Q4_0", row_format::q4_0}, {"Q4_1", row_format::q4_1}, {"Q5_0", row_format::q5_0}, {"Q5_1", row_format::q5_1}, {"Q8_0", row_format::q8_0},
     {"Q2_K", row_format::q2_k}, {"Q3_K", row_format::q3_k}, {"Q4_K", row_format::q4_k}, {"Q5_K", row_format::q5_k}, {"Q6_K", row_format::q6_k}}};

row_format format_of(std::uint32_t gguf_type) {
  std::string const name = gguf_type_name(gguf_type);
  for (auto const& [known, format] : known_formats)
    if (known == name) return format;
  return row_format::other;
}

// What the two codes of a byte stand for.
using byte_pairs = std::array<float, 512>;
byte_pairs const& pairs_of(four_bit_type type) {
  static auto const all = [] {
    std::array<byte_pairs, 2> tables{};
    for (four_bit_type const t : {four_bit_type::nf4, four_bit_type::fp4})
      for (std::size_t byte = 0; byte < 256; ++byte) {
        byte_pairs& pairs = tables[static_cast<std::size_t>(t)];
        pairs[2 * byte] = bnb::table_of(t)[byte >> 4U];
        pairs[2 * byte + 1] = bnb::table_of(t)[byte & 15U];
      }
    return tables;
  }();
  return all[static_cast<std::size_t>(type)];
}

}  // namespace

quantised_rows rows_of_blocks(std::uint32_t gguf_type, std::span<std::byte const> blocks, std::size_t in, std::size_t head_rows) {
  gguf_block const block = gguf_block_of(gguf_type).value();
  return {.format = format_of(gguf_type),
          .data = reinterpret_cast<std::uint8_t const*>(blocks.data()),
          .row_bytes = in / block.elements * block.bytes,
          .in = in,
          .head_rows = head_rows,
          .block_elements = block.elements,
          .block_bytes = block.bytes,
          .decode = gguf_decoder_of(gguf_type)};
}

quantised_rows rows_of(bnb::four_bits const& from, four_bit_type type, std::size_t in) {
  quantised_rows rows{.format = row_format::table, .data = from.codes.data(), .in = in, .pairs = pairs_of(type).data()};
  if (from.scale_codes.empty())
    rows.scales.plain = from.scales.data();
  else
    rows.scales = {nullptr, from.scale_codes.data(), bnb::dynamic_map().data(), from.scale_scales.data(), from.offset};
  return rows;
}

quantised_rows rows_of(bnb::eight_bits const& from, std::size_t in) {
  quantised_rows rows{.format = row_format::int8, .data = from.codes.data(), .row_bytes = in, .in = in};
  rows.scales.plain = from.scales.data();
  return rows;
}

}  // namespace kedge::llm
