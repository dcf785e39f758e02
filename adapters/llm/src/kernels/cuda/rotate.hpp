// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// gpu_rotation: a block takes a row, a thread N pairs at a time. Moved, a number that turns: itself both ways, and its angle once a head from cache.
template <class T, int N>
struct rotate {
  using arguments = gpu_rotation;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_rotation const& a) { return {a.heads * a.half == 0 ? 0 : a.rows, threads_for(a.heads * a.half, N, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_rotation const& a) {
    std::int64_t const row = block.index();
    number_row<T> const x(a.x, row);
    auto const vectors = static_cast<std::uint32_t>(a.half / N);
    each(block, a.heads * vectors, [&](std::int64_t item) {
      std::uint32_t const head = static_cast<std::uint32_t>(item) / vectors, i = static_cast<std::uint32_t>(item) % vectors * N;
      std::int64_t const begin = head * a.head_dim, first = begin + (a.interleaved ? 2 * i : i), second = begin + (a.interleaved ? 2 * i + N : a.half + i);
      vec<N> const c = load<N>(a.cosine + row * a.half + i), s = load<N>(a.sine + row * a.half + i);
      vec<N> p = x.template get<N>(first), q = x.template get<N>(second);
      if (a.interleaved) part(p, q);
      vec<N> left = made<N>([&](int j) { return std::fma(-q[j], s[j] * a.direction, p[j] * c[j]); });
      vec<N> right = made<N>([&](int j) { return std::fma(p[j], s[j] * a.direction, q[j] * c[j]); });
      if (a.interleaved) mix(left, right);
      x.put(first, left);
      x.put(second, right);
    });
  }

 private:
  // Of 2 N numbers in a row, those at even places, and the others.
  KEDGE_GPU static void part(vec<N>& p, vec<N>& q) {
    auto const at = [&](int i) { return i < N ? p[i % N] : q[i % N]; };
    vec<N> const even = made<N>([&](int i) { return at(2 * i); }), odd = made<N>([&](int i) { return at(2 * i + 1); });
    p = even;
    q = odd;
  }
  // And back.
  KEDGE_GPU static void mix(vec<N>& even, vec<N>& odd) {
    auto const at = [&](int i) { return i % 2 == 0 ? even[i / 2] : odd[i / 2]; };
    vec<N> const p = made<N>(at), q = made<N>([&](int i) { return at(N + i); });
    even = p;
    odd = q;
  }
};

}  // namespace kedge::llm::gpu
