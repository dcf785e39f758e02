// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/fixed_size.hpp>

#include <algorithm>
#include <bit>
#include <numeric>

namespace kedge::llm {
namespace {

// The least number from n on that is a power of two, or one of the steps - 1 numbers between it and the next.
std::int64_t rounded_up(std::int64_t n, std::int64_t steps) {
  auto const below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(std::max<std::int64_t>(n - 1, 1))));
  std::int64_t const step = std::max<std::int64_t>(1, below / steps);
  return (n + step - 1) / step * step;
}

}  // namespace

packed_size size_of(ragged_batch const& batch) {
  packed_size size{.tokens = static_cast<std::int64_t>(batch.size()), .rows = static_cast<std::int64_t>(batch.rows.size())};
  for (shared_prompt const& group : batch.prompts)
    each_run(group, [&](attention_run const& run) {
      std::int64_t const keys = run.prefix.size + run.prompt.size + run.own.size;
      ++size.runs;
      size.keys += keys;
      size.longest = std::max(size.longest, keys);
    });
  return size;
}

packed_size size_class(ragged_batch const& batch) {
  packed_size const own = size_of(batch);
  packed_size size{.tokens = rounded_up(own.tokens + 2, 8), .rows = rounded_up(own.rows, 8), .runs = rounded_up(own.runs + 2, 1)};
  std::int64_t const added = size.tokens - own.tokens;
  size.keys = rounded_up(own.keys + added, 4);
  std::int64_t const of_last = size.keys - own.keys - added + 1;  // the last token's run takes the keys that are left
  size.longest = rounded_up(std::max({own.longest, added - 1, of_last}), 1);
  return size;
}

ragged_batch padded(ragged_batch batch, packed_size const& size) {
  auto const begin = static_cast<std::int64_t>(batch.size()), added = size.tokens - begin;
  batch.prompts.push_back({begin, 0, {added - 1, 1}});
  batch.tokens.resize(static_cast<std::size_t>(size.tokens), 0);
  batch.positions.resize(static_cast<std::size_t>(size.tokens), 0);
  std::iota(batch.positions.begin() + begin, batch.positions.end() - 1, std::int64_t{0});
  auto const rows = static_cast<std::size_t>(size.rows);
  batch.sequences += 2;
  batch.rows.resize(rows, size.tokens - 1);
  batch.targets.resize(rows, 0);
  batch.sequence.resize(rows, static_cast<std::int64_t>(batch.sequences) - 1);
  return batch;
}

}  // namespace kedge::llm
