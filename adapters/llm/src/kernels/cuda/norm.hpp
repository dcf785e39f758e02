// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// gpu_norm: a block takes a row. Moved, a number, in bf16: 4 of x, 2 of what is added, 4 of the sum, 2 of out.
template <class T, int N>
struct norm {
  using arguments = gpu_norm;
  static constexpr int most_threads = 512, kept = N == 1 ? 4 : 16 / N;
  static gpu_grid grid(gpu_norm const& a) { return {a.rows, threads_for(a.width, N * kept, most_threads)}; }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_norm const& a) {
    std::int64_t const row = block.index(), begin = row * a.width;
    number_row<T> const weight(a.weight, 0), out(a.out, row);
    vec<N> own[kept];
    float squares = 0;
    each_vector<N, kept>(block, a.width, [&](std::int64_t i, int k) {
      vec<N> x = load<N>(a.x + begin + i);
      if (a.added.at) {
        vec<N> const added = number_row<T>(a.added, row).template get<N>(i);
        x = made<N>([&](int j) { return x[j] + a.added_scale * added[j]; });
        store(a.sum + begin + i, x);
      }
      KEDGE_UNROLL
      for (int j = 0; j < N; ++j) squares += x[j] * x[j];
      if (k < kept) own[k] = x;
    });
    float const inverse = 1 / std::sqrt(sum(block, squares) / static_cast<float>(a.width) + a.eps);
    if (block.thread() == 0 && a.inverse_rms) a.inverse_rms[row] = inverse;
    float const* const again = (a.added.at ? a.sum : a.x) + begin;
    each_vector<N, kept>(block, a.width, [&](std::int64_t i, int k) {
      vec<N> const x = k < kept ? own[k] : load<N>(again + i), w = weight.template get<N>(i);
      out.put(i, made<N>([&](int j) { return a.offset == 0 ? out.rounded(x[j] * inverse) * w[j] : x[j] * inverse * (w[j] + a.offset); }));
    });
  }
};

}  // namespace kedge::llm::gpu
