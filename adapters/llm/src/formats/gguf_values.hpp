// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // byte, size_t
#include <cstdint>  // uint32_t
#include <cstring>  // memcpy

namespace kedge::llm {

/// GGUF's numbers of the metadata types.
enum gguf_type : std::uint32_t {
  type_u8 = 0,
  type_i8,
  type_u16,
  type_i16,
  type_u32,
  type_i32,
  type_f32,
  type_bool,
  type_string,
  type_array,
  type_u64,
  type_i64,
  type_f64
};

/// Bytes of one value of a fixed-size metadata type, 0 for strings, arrays and unknown types.
constexpr std::size_t width_of(std::uint32_t type) {
  switch (type) {
    case type_u8:
    case type_i8:
    case type_bool: return 1;
    case type_u16:
    case type_i16: return 2;
    case type_u32:
    case type_i32:
    case type_f32: return 4;
    case type_u64:
    case type_i64:
    case type_f64: return 8;
    default: return 0;
  }
}

/// A number that lies anywhere.
template <class T>
T load(std::byte const* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace kedge::llm
