// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace kedge::llm {

/// How AdamW keeps its two moments between steps.
enum class moment_type {
  same,   ///< as the parameters: fp32, 8 bytes a parameter for both
  bf16,   ///< 4 bytes
  bits8,  ///< 2 bytes, and a scale for every moment_block numbers of each
};

/// Numbers of a tensor, in the order of its memory, that share a scale.
inline constexpr std::size_t moment_block = 256;

/// How the optimiser of that name, transformers' where it has one, keeps its moments.
/// throws  error for an unknown name
[[nodiscard]] moment_type moments_of(std::string const& optim);

/// Bytes of both moments of so many fp32 parameters.
[[nodiscard]] std::int64_t moment_bytes(moment_type moments, std::int64_t parameters);

}  // namespace kedge::llm
