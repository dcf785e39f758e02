// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "numbers.hpp"

namespace kedge::llm::gpu {

/// What a block of both takes: a row of keys, or of values.
struct row_of_keys_or_values {
  gpu_matrix in, out;
  std::int64_t row;

  template <class Arguments>
  KEDGE_GPU row_of_keys_or_values(Arguments const& a, std::int64_t block) : in(a.keys), out(a.out_keys), row(block) {
    if (!a.values.at) return;
    row = block / 2;
    if (block % 2 == 0) return;
    in = a.values;
    out = a.out_values;
  }
  template <class Arguments>
  static gpu_grid grid(Arguments const& a, std::int64_t rows, int N, int most_threads) {
    return {a.width == 0 ? 0 : rows * (a.values.at ? 2 : 1), threads_for(a.width, N, most_threads)};
  }
};

/// gpu_gather. Moved, a number: itself twice.
template <class T, int N>
struct gather {
  using arguments = gpu_gather;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_gather const& a) { return row_of_keys_or_values::grid(a, a.count, N, most_threads); }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_gather const& a) {
    row_of_keys_or_values const own(a, block.index());
    number_row<T> const from(own.in, a.index[own.row]), to(own.out, own.row);
    each_vector<N, 0>(block, a.width, [&](std::int64_t i, int) { to.put(i, from.template get<N>(i)); });
  }
};

/// gpu_reduce. Moved, a number: each of the sum once, and the sum.
template <class T, int N>
struct reduce {
  using arguments = gpu_reduce;
  static constexpr int most_threads = 256;
  static gpu_grid grid(gpu_reduce const& a) { return row_of_keys_or_values::grid(a, a.rows, N, most_threads); }

  template <class Block>
  KEDGE_GPU static void run(Block& block, gpu_reduce const& a) {
    row_of_keys_or_values const own(a, block.index());
    std::int64_t const begin = a.starts[own.row], end = a.starts[own.row + 1];
    number_row<T> const from(own.in, 0), to(own.out, own.row);
    each_vector<N, 0>(block, a.width, [&](std::int64_t i, int) {
      vec<N> all{};
      for (std::int64_t j = begin; j < end; ++j) {
        vec<N> const one = from.template get<N>(a.places[j] * own.in.stride + i);
        all = made<N>([&](int k) { return all[k] + one[k]; });
      }
      to.put(i, all);
    });
  }
};

}  // namespace kedge::llm::gpu
