// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include <kedge/adapters/torch.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {

/// The bytes of a contiguous tensor on the host.
inline std::span<std::byte> bytes_of(at::Tensor const& t) {
  return {static_cast<std::byte*>(t.data_ptr()), t.nbytes()};
}

inline at::ScalarType scalar_type_of(dtype type) {
  switch (type) {
    case dtype::f64: return at::kDouble;
    case dtype::f32: return at::kFloat;
    case dtype::f16: return at::kHalf;
    case dtype::bf16: return at::kBFloat16;
    default: throw error("type " + std::string(name_of(type)) + " is not one that weights can have; use F32, F16, BF16 or F64");
  }
}

}  // namespace kedge::llm
