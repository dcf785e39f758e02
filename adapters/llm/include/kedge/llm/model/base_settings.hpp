// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// How the frozen weights under an adapter are held: as the file has them, mapped and not copied, or dequantised into the type of the computation.
enum class base_storage { automatic, file, dequantized };
constexpr auto names(base_storage) {
  using enum base_storage;
  return std::array<named<base_storage>, 4>{{{automatic, "auto", "file where the model is a GGUF file and the run on the processor"},
                                             {file, "file", "as the file has them, mapped"},
                                             {dequantized, "dequantized", "in the type of the computation"},
                                             {dequantized, "dequantised"}}};
}

/// The 16 numbers that 4 bits stand for: bitsandbytes' tables.
enum class four_bit_type { nf4, fp4 };
constexpr auto names(four_bit_type) {
  using enum four_bit_type;
  return std::array<named<four_bit_type>, 2>{{{nf4, "nf4", "quantiles of a normal distribution"}, {fp4, "fp4", "a sign, two bits of exponent and one of fraction"}}};
}

/// The base under an adapter. Names are those of TRL, transformers and bitsandbytes.
struct base_settings {
  base_storage storage = base_storage::automatic;  ///< --base_weights
  bool load_in_8bit = false;                       ///< rows of int8 with a scale each
  bool load_in_4bit = false;                       ///< blocks of 64 with a scale each
  four_bit_type quant_type = four_bit_type::nf4;   ///< --bnb_4bit_quant_type
  bool double_quant = false;                       ///< --bnb_4bit_use_double_quant: scales in 8 bits

  bool operator==(base_settings const&) const = default;
};

}  // namespace kedge::llm
