// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include <kedge/llm/model/base_settings.hpp>

#include "../formats/bnb.hpp"
#include "quantised.hpp"

namespace kedge::llm {

/// Rows of GGUF's blocks for the kernels.   in: numbers of a row, whole blocks
/// head_rows: see quantised_rows
[[nodiscard]] quantised_rows rows_of_blocks(std::uint32_t gguf_type, std::span<std::byte const> blocks, std::size_t in, std::size_t head_rows = 0);

/// Rows that bitsandbytes' ways have made; what they were made of has to stay.
[[nodiscard]] quantised_rows rows_of(bnb::four_bits const& from, four_bit_type type, std::size_t in);
[[nodiscard]] quantised_rows rows_of(bnb::eight_bits const& from, std::size_t in);

}  // namespace kedge::llm
