// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace kedge::llm {

/// f(begin, end) over parts of 0 … n − 1, each of at least `grain`, on LibTorch's threads. at::parallel_for would run serially here: it
/// is a template, and these sources aren't compiled with OpenMP. The loop below is compiled within LibTorch.
template <class F>
void in_parallel(std::size_t n, std::size_t grain, F const& f) {
  if (n == 0) return;
  if (n <= grain || at::get_num_threads() == 1 || at::in_parallel_region()) return f(std::size_t{0}, n);
  at::Tensor const places = at::empty({static_cast<std::int64_t>(n)}, at::kByte);  // their addresses count, not what is in them
  auto const* const base = static_cast<char const*>(places.const_data_ptr());
  at::TensorIterator iterator = at::TensorIterator::borrowing_nullary_op(places);
  iterator.for_each(
      [&](char** data, std::int64_t const*, std::int64_t count) {
        std::size_t const begin = static_cast<std::size_t>(data[0] - base);
        f(begin, begin + static_cast<std::size_t>(count));
      },
      static_cast<std::int64_t>(grain));
}

/// f(i) for each of 0 … n − 1 as a thread becomes free, the first ones first: for pieces of unequal size, the largest in front.
template <class F>
void in_turn(std::size_t n, F const& f) {
  std::atomic<std::size_t> next = 0;
  in_parallel(std::min(n, static_cast<std::size_t>(at::get_num_threads())), 1, [&](std::size_t, std::size_t) {
    for (std::size_t i = next++; i < n; i = next++) f(i);
  });
}

}  // namespace kedge::llm
