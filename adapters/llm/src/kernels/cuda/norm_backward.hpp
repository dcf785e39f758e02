// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// gpu_norm_backward: a block takes rows in turn, and keeps its sums of g ∘ x r. With y = x r and w' = w + offset,
///   gx += r (g ∘ w' − y mean(g ∘ w' ∘ y)).
/// Moved, a number, in bf16: 2 of g, 4 of x, 4 of gx both ways, and 2 of it narrowed; g and x come a second time from cache.
template <class T, int N>
struct norm_backward {
  using arguments = gpu_norm_backward;
  static constexpr int most_threads = 512, kept = N == 1 ? 4 : 16 / N;
  static gpu_grid grid(gpu_norm_backward const& a) {
    return {a.width == 0 ? 0 : norm_partial_rows(a.rows), threads_for(a.width, N * kept, most_threads)};
  }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_norm_backward const& a) {
    float* const partial = a.weight_gradient ? a.partial + block.index() * a.width : nullptr;
    vec<N> own[kept];
    KEDGE_UNROLL
    for (int k = 0; k < kept; ++k) own[k] = made<N>([](int) { return 0.0F; });
    for (std::int64_t row = block.index(); row < a.rows; row += block.blocks()) of_row(block, a, row, own, partial);
    if (!partial) return;
    each_vector<N, kept>(block, a.width, [&](std::int64_t i, int k) {
      if (k < kept) store(partial + i, own[k]);
    });
  }

 private:
  template <class Block>
  KEDGE_GPU static void of_row(Block& block, gpu_norm_backward const& a, std::int64_t row, vec<N> (&own)[kept], float* partial) {
    number_row<T> const g(a.g, row), weight(a.weight, 0);
    float const *const x = a.x + row * a.width, inverse = a.inverse_rms[row];
    auto const weighted = [&](std::int64_t i, vec<N> const& of_out) {
      vec<N> const w = weight.template get<N>(i);
      return made<N>([&](int j) { return of_out[j] * (w[j] + a.offset); });
    };
    float along = 0;
    each_vector<N, kept>(block, a.width, [&](std::int64_t i, int k) {
      vec<N> const of_out = g.template get<N>(i), of_y = weighted(i, of_out), from = load<N>(x + i);
      vec<N> const y = made<N>([&](int j) { return from[j] * inverse; });
      KEDGE_UNROLL
      for (int j = 0; j < N; ++j) along += of_y[j] * y[j];
      if (!partial) return;
      bool const begins = row == block.index();  // sums of which none is in a register begin in memory
      vec<N> const before = k < kept ? own[k] : begins ? made<N>([](int) { return 0.0F; }) : load<N>(partial + i);
      vec<N> const after = made<N>([&](int j) { return before[j] + of_out[j] * y[j]; });
      if (k < kept)
        own[k] = after;
      else
        store(partial + i, after);
    });
    float const mean = sum(block, along) / static_cast<float>(a.width);
    each_vector<N, 0>(block, a.width, [&](std::int64_t i, int) {
      vec<N> const of_y = weighted(i, g.template get<N>(i)), from = load<N>(x + i), before = load<N>(a.gx + row * a.width + i);
      vec<N> const after = made<N>([&](int j) { return before[j] + inverse * (of_y[j] - from[j] * inverse * mean); });
      store(a.gx + row * a.width + i, after);
      if (a.narrowed.at) number_row<T>(a.narrowed, row).put(i, after);
    });
  }
};

/// The second launch: weight_gradient += Σ of the blocks' sums, a block for so many columns. The order is the same for every number of threads.
struct norm_weight_gradient {
  using arguments = gpu_norm_backward;
  static constexpr int most_threads = 1024, columns = 32, groups = most_threads / columns;
  static gpu_grid grid(gpu_norm_backward const& a) {
    return {a.weight_gradient && a.rows > 0 ? pieces(a.width, columns) : 0, most_threads, most_threads * sizeof(float)};
  }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_norm_backward const& a) {
    std::int64_t const first = block.index() * columns, rows = norm_partial_rows(a.rows);
    float* const sums = block.template shared<float>();
    each(block, most_threads, [&](std::int64_t item) {
      std::int64_t const column = first + item % columns;
      float all = 0;
      if (column < a.width)
        for (std::int64_t r = item / columns; r < rows; r += groups) all += a.partial[r * a.width + column];
      sums[item] = all;
    });
    block.sync();
    each(block, columns, [&](std::int64_t i) {
      if (first + i >= a.width) return;
      float all = a.weight_gradient[first + i];
      for (int group = 0; group < groups; ++group) all += sums[group * columns + i];
      a.weight_gradient[first + i] = all;
    });
  }
};

}  // namespace kedge::llm::gpu
