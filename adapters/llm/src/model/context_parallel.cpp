// SPDX-License-Identifier: Apache-2.0
#include "context_parallel.hpp"

#include <algorithm>
#include <limits>

namespace kedge::llm {
namespace {

struct stretch {
  std::int64_t token, size, position;
};

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Prompts and completions of a batch, and what each of them sees.
struct stretches {
  explicit stretches(ragged_batch const& batch) {
    for (shared_prompt const& group : batch.prompts) {
      std::vector<seen_stretch> before;
      if (group.prefix.size > 0) before.push_back(of_prefix(batch, group.prefix));
      std::int64_t token = group.begin;
      if (std::size_t const prompt = add(batch, token, group.prompt, before); group.prompt > 0)
        before.push_back({prompt, everything});
      token += group.prompt;
      for (std::int64_t const size : group.completions) {
        add(batch, token, size, before);
        token += size;
      }
    }
  }

  std::vector<stretch> all;
  std::vector<std::vector<seen_stretch>> sees;

 private:
  static constexpr std::int64_t everything = std::numeric_limits<std::int64_t>::max();

  std::size_t add(ragged_batch const& batch, std::int64_t token, std::int64_t size, std::vector<seen_stretch> before) {
    if (size == 0) return all.size();
    before.push_back({all.size(), everything});
    all.push_back({token, size, batch.positions[as_size(token)]});
    sees.push_back(std::move(before));
    return all.size() - 1;
  }
  // It stands in an earlier prompt.
  [[nodiscard]] seen_stretch of_prefix(ragged_batch const& batch, token_range const& prefix) const {
    auto const there = std::find_if(
        all.begin(), all.end(), [&](stretch const& s) { return s.token <= prefix.begin && prefix.begin < s.token + s.size; });
    return {as_size(there - all.begin()), batch.positions[as_size(prefix.begin + prefix.size - 1)] + 1};
  }
};

}  // namespace

context_division::context_division(ragged_batch const& batch, int of_rank, int size)
    : rank(of_rank), chunks(static_cast<std::size_t>(size)), tokens(chunks.size()) {
  stretches of(batch);
  std::int64_t const parts = 2 * size;
  std::int64_t turn = 0;  // whose part has a token more goes round, so that short stretches don't all fall to one process
  for (std::size_t s = 0; s < of.all.size(); ++s) {
    stretch const& all = of.all[s];
    std::int64_t const each = all.size / parts, more = all.size % parts;
    std::int64_t begin = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      std::int64_t const count = each + ((part - turn + parts) % parts < more ? 1 : 0);
      std::size_t const owner = as_size(std::min(part, parts - 1 - part));
      if (count > 0) chunks[owner].push_back({s, all.position + begin, count, all.token + begin, tokens[owner]});
      tokens[owner] += count;
      begin += count;
    }
    turn = (turn + more) % parts;
  }
  sees = std::move(of.sees);
}

std::int64_t context_division::most_tokens() const { return *std::max_element(tokens.begin(), tokens.end()); }
std::int64_t context_division::least_tokens() const { return *std::min_element(tokens.begin(), tokens.end()); }

context_part::context_part(ragged_batch const& whole, context_division const& division) : whole_rows(whole.rows.size()) {
  std::vector<std::int64_t> place(whole.tokens.size(), -1);  // of each token among the own ones
  for (context_chunk const& chunk : division.own())
    for (std::int64_t i = chunk.token; i < chunk.token + chunk.size; ++i) {
      place[as_size(i)] = static_cast<std::int64_t>(tokens.size());
      tokens.push_back(i);
      batch.tokens.push_back(whole.tokens[as_size(i)]);
      batch.positions.push_back(whole.positions[as_size(i)]);
    }
  for (std::size_t r = 0; r < whole.rows.size(); ++r) {
    std::int64_t const here = place[as_size(whole.rows[r])];
    if (here < 0) continue;
    rows.push_back(static_cast<std::int64_t>(r));
    batch.rows.push_back(here);
    batch.targets.push_back(whole.targets[r]);
    batch.sequence.push_back(whole.sequence[r]);
    if (!whole.weights.empty()) batch.weights.push_back(whole.weights[r]);
  }
  batch.sequences = whole.sequences;
}

std::vector<double> context_part::own(std::span<double const> of_all) const {
  std::vector<double> numbers;
  for (std::int64_t const row : rows)
    if (!of_all.empty()) numbers.push_back(of_all[as_size(row)]);
  return numbers;
}

void context_part::complete(context_ring& ring, std::vector<double>& of_own) const {
  std::vector<double> all(whole_rows);
  for (std::size_t i = 0; i < of_own.size(); ++i) all[as_size(rows[i])] = of_own[i];
  ring.sum(all);
  of_own = std::move(all);
}

}  // namespace kedge::llm
