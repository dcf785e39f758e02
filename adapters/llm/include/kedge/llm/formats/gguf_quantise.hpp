// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>    // array
#include <cstddef>  // byte
#include <cstdint>  // uint32_t
#include <span>     // span

#include <kedge/llm/base/names.hpp>

namespace kedge::llm {

/// How the matrices of a GGUF file are stored. Vectors are float32 in all of them. The values are ggml's numbers of the types.
enum class gguf_storage : std::uint32_t { f32 = 0, f16 = 1, bf16 = 30, q8_0 = 8, q4_0 = 2, q4_k = 12 };

constexpr auto names(gguf_storage) {
  using enum gguf_storage;
  return std::array<named<gguf_storage>, 6>{{{f32, "F32", "32 bits a weight"},
                                             {f16, "F16", "16 bits"},
                                             {bf16, "BF16", "16 bits, with the range of float32"},
                                             {q8_0, "Q8_0", "8.5 bits"},
                                             {q4_0, "Q4_0", "4.5 bits"},
                                             {q4_k, "Q4_K", "4.5 bits, each 32 weights with a scale and a minimum of their own"}}};
}

/// Stores numbers as whole blocks of a type.
/// math    Q8_0 and Q4_0 as the Python package `gguf` does, bit for bit. Q4_K: of each 32 numbers a scale and a minimum, by least squares
///         over the roundings that some nearby scales lead to; then scales and minimums of 256 numbers are rounded to 6 bits, and the
///         numbers once more. F16 and BF16 round to nearest even
/// shapes  `in` holds whole blocks, `out` their bytes
/// throws  kedge::llm::error if the sizes do not match
void quantise(gguf_storage type, std::span<float const> in, std::span<std::byte> out);

}  // namespace kedge::llm
