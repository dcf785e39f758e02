// SPDX-License-Identifier: Apache-2.0
#pragma once

// Numbers of memory, fp32 or bf16, by 16 bytes where they lie so.

#include <cmath>

#include "block.hpp"

namespace kedge::llm::gpu {

/// fp32 of the bits of bf16, and the bits of a number rounded to nearest, of two equally near the even one. NaN stays NaN.
KEDGE_GPU inline float widened(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
KEDGE_GPU inline std::uint16_t narrowed(float x) {
  auto const bits = std::bit_cast<std::uint32_t>(x);
  std::uint32_t const up = bits + 0x7fffU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>((x != x ? bits | 0x00400000U : up) >> 16);
}

/// N numbers in registers.
template <int N>
struct vec {
  float x[N];
  KEDGE_GPU float& operator[](int i) { return x[i]; }
  KEDGE_GPU float operator[](int i) const { return x[i]; }
};

/// f(i) of each.
template <int N, class F>
KEDGE_GPU vec<N> made(F const& f) {
  vec<N> to;
  KEDGE_UNROLL
  for (int i = 0; i < N; ++i) to[i] = f(i);
  return to;
}

/// Bytes that one instruction moves.
template <int bytes>
struct alignas(bytes) piece {
  std::uint32_t words[bytes / 4];
};
template <class Piece>
KEDGE_GPU Piece read_piece(void const* at) {
#if defined(__CUDA_ARCH__)
  return *static_cast<Piece const*>(at);
#else
  Piece to;
  __builtin_memcpy(&to, at, sizeof to);
  return to;
#endif
}
template <class Piece>
KEDGE_GPU void write_piece(void* at, Piece const& from) {
#if defined(__CUDA_ARCH__)
  *static_cast<Piece*>(at) = from;
#else
  __builtin_memcpy(at, &from, sizeof from);
#endif
}

/// N numbers from `at` on, which is a multiple of 16 bytes, or of all of theirs if that is less.
template <int N>
KEDGE_GPU vec<N> load(float const* at) {
  if constexpr (N == 1) {
    return {{*at}};
  } else {
    static_assert(N % 4 == 0);
    vec<N> to;
    KEDGE_UNROLL
    for (int i = 0; i < N; i += 4) {
      auto const some = read_piece<piece<16>>(at + i);
      KEDGE_UNROLL
      for (int j = 0; j < 4; ++j) to[i + j] = std::bit_cast<float>(some.words[j]);
    }
    return to;
  }
}
template <int N>
KEDGE_GPU vec<N> load(std::uint16_t const* at) {
  if constexpr (N == 1) {
    return {{widened(*at)}};
  } else {
    static_assert(N == 4 || N == 8);
    auto const some = read_piece<piece<2 * N>>(at);
    return made<N>([&](int i) { return std::bit_cast<float>(i % 2 == 0 ? some.words[i / 2] << 16 : some.words[i / 2] & 0xffff0000U); });
  }
}
template <int N>
KEDGE_GPU void store(float* at, vec<N> const& x) {
  if constexpr (N == 1) {
    *at = x[0];
  } else {
    static_assert(N % 4 == 0);
    KEDGE_UNROLL
    for (int i = 0; i < N; i += 4) {
      piece<16> some;
      KEDGE_UNROLL
      for (int j = 0; j < 4; ++j) some.words[j] = std::bit_cast<std::uint32_t>(x[i + j]);
      write_piece(at + i, some);
    }
  }
}
template <int N>
KEDGE_GPU void store(std::uint16_t* at, vec<N> const& x) {
  if constexpr (N == 1) {
    *at = narrowed(x[0]);
  } else {
    static_assert(N == 4 || N == 8);
    piece<2 * N> some;
    KEDGE_UNROLL
    for (int i = 0; i < N; i += 2) some.words[i / 2] = narrowed(x[i]) | std::uint32_t{narrowed(x[i + 1])} << 16;
    write_piece(at, some);
  }
}

/// A row of a matrix whose type is known, or asked number by number: `either`.
struct either {};
template <class T>
struct number_row {
  T* at;
  KEDGE_GPU number_row(gpu_matrix const& m, std::int64_t row) : at(static_cast<T*>(m.at) + row * m.stride) {}
  template <int N>
  KEDGE_GPU vec<N> get(std::int64_t i) const {
    return load<N>(at + i);
  }
  template <int N>
  KEDGE_GPU void put(std::int64_t i, vec<N> const& x) const {
    store(at + i, x);
  }
  KEDGE_GPU float rounded(float x) const {
    if constexpr (sizeof(T) == 2) return widened(narrowed(x));
    return x;
  }
};
template <>
struct number_row<either> {
  gpu_matrix m;
  std::int64_t begin;
  KEDGE_GPU number_row(gpu_matrix const& matrix, std::int64_t row) : m(matrix), begin(row * matrix.stride) {}
  template <int N>
  KEDGE_GPU vec<N> get(std::int64_t i) const {
    return m.type == gpu_number::bf16 ? load<N>(static_cast<std::uint16_t const*>(m.at) + begin + i) : load<N>(static_cast<float const*>(m.at) + begin + i);
  }
  template <int N>
  KEDGE_GPU void put(std::int64_t i, vec<N> const& x) const {
    if (m.type == gpu_number::bf16)
      store(static_cast<std::uint16_t*>(m.at) + begin + i, x);
    else
      store(static_cast<float*>(m.at) + begin + i, x);
  }
  KEDGE_GPU float rounded(float x) const { return m.type == gpu_number::bf16 ? widened(narrowed(x)) : x; }
};

/// Whether 16 bytes may be moved at a time.
[[nodiscard]] inline bool by_sixteen(void const* at, std::int64_t stride_bytes = 0) {
  return reinterpret_cast<std::uintptr_t>(at) % 16 == 0 && stride_bytes % 16 == 0;
}
[[nodiscard]] inline bool by_sixteen(gpu_matrix const& m) { return by_sixteen(m.at, m.at ? m.stride * (m.type == gpu_number::bf16 ? 2 : 4) : 0); }

/// Numbers of T that are taken at a time.
template <class T>
inline constexpr int wide = 8;
template <>
inline constexpr int wide<float> = 4;

/// f<T, N>(): T is the type of all these matrices, or `either`; N is wide<T> where they, and rows of `width` numbers, allow it and `aligned` says
/// the same of all else, or 1.
template <std::size_t count, class F>
void with_numbers(gpu_matrix const (&matrices)[count], std::int64_t width, bool aligned, F const& f) {
  bool fp32 = true, bf16 = true;
  for (gpu_matrix const& m : matrices) {
    if (!m.at) continue;
    (m.type == gpu_number::bf16 ? fp32 : bf16) = false;
    aligned = aligned && by_sixteen(m);
  }
  auto const of_type = [&]<class T>() { aligned && width % wide<T> == 0 ? f.template operator()<T, wide<T>>() : f.template operator()<T, 1>(); };
  if (fp32) return of_type.template operator()<float>();
  if (bf16 || count == 1) return of_type.template operator()<std::uint16_t>();
  if constexpr (count > 1) of_type.template operator()<either>();
}

}  // namespace kedge::llm::gpu
