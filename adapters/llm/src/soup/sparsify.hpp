// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>     // size_t
#include <cstdint>     // uint8_t, uint64_t
#include <functional>  // function
#include <span>        // span
#include <vector>      // vector

#include "../base/thread_pool.hpp"

namespace kedge::llm {

/// One byte an element: 1 keeps it.
using entry_mask = std::vector<std::uint8_t>;

/// Gives entries begin … begin + out.size() − 1 of a task vector; may be called from many threads.
using entry_reader = std::function<void(std::size_t begin, std::span<float> out)>;

// Each keeps some of n entries; equal magnitudes count in the order of their indices, as in a stable sort. No result
// depends on the number of workers, and the random ones depend on nothing but the seed and the index.
// cost    keep_largest, keep_middle: four passes over the entries per threshold, 0.5 MB a worker; no sorting

/// The `kept` largest.
entry_mask keep_top(std::size_t n, std::size_t kept, thread_pool& workers, entry_reader const& read);

/// The magnitude of rank r = 0 … n − 1 in rising order.
float magnitude_at(std::size_t r, std::size_t n, thread_pool& workers, entry_reader const& read);

/// The ⌊density·n⌋ largest, at least one.
entry_mask keep_largest(std::size_t n, double density, thread_pool& workers, entry_reader const& read);

/// Without the ⌊gamma·n⌋ largest, the ⌊density·n⌋ largest of what is left; fewer outliers go where both don't fit.
entry_mask keep_middle(std::size_t n, double density, double gamma, thread_pool& workers, entry_reader const& read);

/// Each with probability density.
entry_mask keep_at_random(std::size_t n, double density, std::uint64_t seed, thread_pool& workers);

/// Lines of `length` entries `inner` apart (n / length of them): within a line the entry of rank r = 0 … length − 1 by
/// magnitude is kept with probability density − epsilon + 2·epsilon·r/(length − 1).
entry_mask keep_by_rank(std::size_t n, std::size_t length, std::size_t inner, double density, double epsilon, std::uint64_t seed,
                        thread_pool& workers, entry_reader const& read);

/// A number in [0, 1) for an index under a seed: the 53 leading bits of a mixed 64-bit counter.
double uniform(std::uint64_t seed, std::uint64_t index) noexcept;

}  // namespace kedge::llm
