// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/fixed_size.hpp>

#include <algorithm>
#include <bit>
#include <numeric>

namespace kedge::llm {
namespace {

std::int64_t ceil_div(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

// The least multiple from n on of 128, a tile of products on a GPU, and of an eighth of the power of two below it.
std::int64_t rounded_up(std::int64_t n) {
  auto const below = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(n - 1)));
  std::int64_t const step = std::max<std::int64_t>(128, below / 8);
  return ceil_div(n, step) * step;
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

std::optional<packed_size> size_class(ragged_batch const& batch) {
  constexpr std::int64_t most_tokens = 16384, most_keys_of_a_run = 2048, keys_of_a_system_message = 512;
  packed_size const own = size_of(batch);
  packed_size size{.tokens = rounded_up(own.tokens + spare_runs + 1)};
  if (size.tokens > most_tokens) return {};
  std::int64_t const added = size.tokens - own.tokens, eighth = size.tokens / 8;
  size.rows = ceil_div(own.rows, eighth) * eighth;
  size.runs = size.tokens / 128 + 32;
  size.keys = std::min(2 * size.tokens, 9 * size.tokens / 4 - size.rows) + keys_of_a_system_message;
  size.longest = std::min(size.tokens, most_keys_of_a_run);
  std::int64_t const left = size.keys - own.keys - added;
  bool const fits = own.runs + spare_runs + 1 <= size.runs && left >= 0 && std::max({own.longest, added, ceil_div(left, spare_runs) + 1}) <= size.longest;
  return fits ? std::optional(size) : std::nullopt;
}

ragged_batch padded(ragged_batch batch, packed_size const& size) {
  auto const begin = static_cast<std::int64_t>(batch.size()), added = size.tokens - begin;
  shared_prompt& extra = batch.prompts.emplace_back(shared_prompt{begin, 0, {added - spare_runs}});
  extra.completions.resize(spare_runs + 1, 1);
  batch.tokens.resize(static_cast<std::size_t>(size.tokens), 0);
  batch.positions.resize(static_cast<std::size_t>(size.tokens), 0);
  std::iota(batch.positions.begin() + begin, batch.positions.end() - spare_runs, std::int64_t{0});
  auto const rows = static_cast<std::size_t>(size.rows);
  batch.sequences += spare_runs + 1;
  batch.rows.resize(rows, size.tokens - 1);
  batch.targets.resize(rows, 0);
  batch.sequence.resize(rows, static_cast<std::int64_t>(batch.sequences) - 1);
  return batch;
}

}  // namespace kedge::llm
