// SPDX-License-Identifier: Apache-2.0
#include "sparsify.hpp"

#include <algorithm>  // count_if, max, min, sort
#include <bit>        // bit_cast
#include <cmath>      // abs
#include <numeric>    // iota

#include "tensor_job.hpp"

namespace kedge::llm {
namespace {

/// Magnitudes in the order of their bits, which for non-negative floats is the order of the numbers.
std::uint32_t key_of(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7fff'ffffU; }

/// The r entries of smallest magnitude, told by a value: those below it, and the first `equals` of those equal to it.
struct rank_cut {
  std::uint32_t key = 0;
  std::size_t equals = 0;
};

/// Counts of the values of key(entry) below `bins`, over all entries for which it is below; in parallel.
template <class Key>
std::vector<std::size_t> histogram(std::size_t n, std::size_t bins, thread_pool& workers, entry_reader const& read, Key const& key) {
  std::vector<std::vector<std::size_t>> counts(workers.size(), std::vector<std::size_t>(bins));
  for_pieces(workers, n, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t worker) {
    std::vector<float> entries(count);
    read(begin, entries);
    for (float const x : entries)
      if (std::size_t const bin = key(key_of(x)); bin < bins) ++counts[worker][bin];
  });
  for (std::size_t worker = 1; worker < counts.size(); ++worker)
    for (std::size_t bin = 0; bin < bins; ++bin) counts[0][bin] += counts[worker][bin];
  return std::move(counts[0]);
}

/// The bin in which the entry of rank r falls; r becomes its rank within the bin.
std::size_t bin_of_rank(std::vector<std::size_t> const& counts, std::size_t& r) {
  std::size_t bin = 0;
  while (r >= counts[bin]) r -= counts[bin++];
  return bin;
}

/// Two rounds of counting, by the upper 16 bits of the key and by the lower 15. r < n.
rank_cut cut_at(std::size_t r, std::size_t n, thread_pool& workers, entry_reader const& read) {
  constexpr unsigned low_bits = 15;
  auto const upper = histogram(n, std::size_t{1} << 16U, workers, read, [](std::uint32_t key) { return std::size_t{key >> low_bits}; });
  std::size_t const high = bin_of_rank(upper, r);
  auto const lower = histogram(n, std::size_t{1} << low_bits, workers, read, [&](std::uint32_t key) {
    return (key >> low_bits) == high ? std::size_t{key & 0x7fffU} : std::size_t{1} << low_bits;
  });
  std::size_t const low = bin_of_rank(lower, r);
  return {static_cast<std::uint32_t>((high << low_bits) | low), r};
}

/// For each piece, how many entries before it equal the key.
std::vector<std::size_t> equals_before(std::uint32_t key, std::size_t n, thread_pool& workers, entry_reader const& read) {
  std::vector<std::size_t> before(pieces_of(n) + 1);
  for_pieces(workers, n, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> entries(count);
    read(begin, entries);
    before[piece + 1] = static_cast<std::size_t>(std::count_if(entries.begin(), entries.end(), [&](float x) { return key_of(x) == key; }));
  });
  for (std::size_t piece = 1; piece < before.size(); ++piece) before[piece] += before[piece - 1];
  return before;
}

/// Sets mask ← keep where the entry is among the first r in ascending order, for r < n.
void mark_smallest(entry_mask& mask, rank_cut cut, std::uint8_t keep, thread_pool& workers, entry_reader const& read) {
  auto const before = equals_before(cut.key, mask.size(), workers, read);
  for_pieces(workers, mask.size(), [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> entries(count);
    read(begin, entries);
    std::size_t seen = before[piece];
    for (std::size_t i = 0; i < count; ++i) {
      std::uint32_t const key = key_of(entries[i]);
      bool const tie = key == cut.key && seen++ < cut.equals;
      if (key < cut.key || tie) mask[begin + i] = keep;
    }
  });
}

/// Keeps what is above the cut, and of those equal to it the first `equals`.
entry_mask mark_largest(std::size_t n, std::uint32_t threshold, std::size_t equals, thread_pool& workers, entry_reader const& read) {
  entry_mask mask(n);
  auto const before = equals_before(threshold, n, workers, read);
  for_pieces(workers, n, [&](std::size_t piece, std::size_t begin, std::size_t count, std::size_t) {
    std::vector<float> entries(count);
    read(begin, entries);
    std::size_t seen = before[piece];
    for (std::size_t i = 0; i < count; ++i) {
      std::uint32_t const key = key_of(entries[i]);
      bool const tie = key == threshold && seen++ < equals;
      mask[begin + i] = key > threshold || tie ? 1 : 0;
    }
  });
  return mask;
}

}  // namespace

double uniform(std::uint64_t seed, std::uint64_t index) noexcept {
  std::uint64_t x = seed + (index + 1) * 0x9e37'79b9'7f4a'7c15U;  // SplitMix64 at place `index` of its sequence
  x = (x ^ (x >> 30U)) * 0xbf58'476d'1ce4'e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d0'49bb'1331'11ebU;
  return static_cast<double>((x ^ (x >> 31U)) >> 11U) * 0x1p-53;
}

float magnitude_at(std::size_t r, std::size_t n, thread_pool& workers, entry_reader const& read) {
  return std::bit_cast<float>(cut_at(r, n, workers, read).key);
}

entry_mask keep_largest(std::size_t n, double density, thread_pool& workers, entry_reader const& read) {
  if (density <= 0 || n == 0) return entry_mask(n);
  return keep_top(n, std::max<std::size_t>(1, static_cast<std::size_t>(density * static_cast<double>(n))), workers, read);
}

entry_mask keep_top(std::size_t n, std::size_t kept, thread_pool& workers, entry_reader const& read) {
  if (kept == 0) return entry_mask(n);
  if (kept >= n) return entry_mask(n, 1);
  rank_cut const cut = cut_at(n - kept, n, workers, read);
  // Of the ties with the threshold all but `cut.equals` are kept; in falling order those that come first.
  auto const before = equals_before(cut.key, n, workers, read);
  return mark_largest(n, cut.key, before.back() - cut.equals, workers, read);
}

entry_mask keep_middle(std::size_t n, double density, double gamma, thread_pool& workers, entry_reader const& read) {
  auto const kept = static_cast<std::size_t>(std::max(0.0, density) * static_cast<double>(n));
  auto const outliers = static_cast<std::size_t>(std::max(0.0, gamma) * static_cast<double>(n));
  std::size_t const smallest = n - std::min(n, kept + outliers);
  if (kept == 0) return entry_mask(n);
  entry_mask mask(n, smallest + kept >= n ? 1 : 0);
  if (smallest + kept < n) mark_smallest(mask, cut_at(smallest + kept, n, workers, read), 1, workers, read);
  if (smallest > 0) mark_smallest(mask, cut_at(smallest, n, workers, read), 0, workers, read);
  return mask;
}

entry_mask keep_at_random(std::size_t n, double density, std::uint64_t seed, thread_pool& workers) {
  entry_mask mask(n);
  for_pieces(workers, n, [&](std::size_t, std::size_t begin, std::size_t count, std::size_t) {
    for (std::size_t i = begin; i < begin + count; ++i) mask[i] = uniform(seed, i) < density ? 1 : 0;
  });
  return mask;
}

entry_mask keep_by_rank(std::size_t n, std::size_t length, std::size_t inner, double density, double epsilon, std::uint64_t seed,
                        thread_pool& workers, entry_reader const& read) {
  entry_mask mask(n);
  if (n == 0) return mask;
  std::size_t const block = length * inner;
  workers.run(n / block, [&](std::size_t outer, std::size_t) {
    std::vector<float> entries(block);
    read(outer * block, entries);
    std::vector<std::pair<std::uint32_t, std::size_t>> line(length);
    for (std::size_t offset = 0; offset < inner; ++offset) {
      for (std::size_t k = 0; k < length; ++k) line[k] = {key_of(entries[k * inner + offset]), k};
      std::sort(line.begin(), line.end());  // ties by index
      for (std::size_t rank = 0; rank < length; ++rank) {
        double const share = length > 1 ? static_cast<double>(rank) / static_cast<double>(length - 1) : 0.5;
        std::size_t const index = outer * block + line[rank].second * inner + offset;
        mask[index] = uniform(seed, index) < density - epsilon + 2 * epsilon * share ? 1 : 0;
      }
    }
  });
  return mask;
}

}  // namespace kedge::llm
