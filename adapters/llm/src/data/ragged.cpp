// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/ragged.hpp>

#include <algorithm>
#include <array>

#include <kedge/losses/modifiers.hpp>

namespace kedge::llm {
namespace {

// What the prompt has in common with the batch's first, if it is worth products of its own.
token_range prefix_of(ragged_batch const& batch, std::span<std::int32_t const> prompt) {
  constexpr std::int64_t least = 8;
  if (!batch.shares_prefixes || batch.prompts.empty()) return {};
  shared_prompt const& first = batch.prompts.front();
  auto const begin = batch.tokens.begin() + first.begin;
  std::int64_t const common = std::mismatch(begin, begin + first.prompt, prompt.begin(), prompt.end()).first - begin;
  return common < least ? token_range{} : token_range{first.begin, common};
}

}  // namespace

void append(ragged_batch& batch, std::span<std::int32_t const> prompt,
            std::span<std::span<std::int32_t const> const> completions, read_at where) {
  auto const begin = static_cast<std::int64_t>(batch.tokens.size());
  auto read = [&](std::int64_t row, std::int32_t target) {
    batch.rows.push_back(row);
    batch.targets.push_back(target);
    batch.sequence.push_back(static_cast<std::int64_t>(batch.sequences));
  };
  auto const prompt_size = static_cast<std::int64_t>(prompt.size());
  token_range const prefix = prefix_of(batch, prompt);
  std::int64_t const own = prompt_size - prefix.size, end_of_prompt = own > 0 ? begin + own - 1 : prefix.begin + prefix.size - 1;
  shared_prompt& group = batch.prompts.emplace_back(shared_prompt{begin, own, {}, prefix});
  for (std::int64_t i = prefix.size; i < prompt_size; ++i) {
    batch.tokens.push_back(prompt[static_cast<std::size_t>(i)]);
    batch.positions.push_back(i);
  }
  for (std::span<std::int32_t const> const completion : completions) {
    auto const first = static_cast<std::int64_t>(batch.tokens.size());
    for (std::size_t i = 0; i < completion.size(); ++i) {
      std::int64_t const here = first + static_cast<std::int64_t>(i);
      std::int64_t const before = i > 0 ? here - 1 : end_of_prompt;
      if (where == read_at::every_token && (i > 0 || prompt_size > 0)) read(before, completion[i]);
      batch.tokens.push_back(completion[i]);
      batch.positions.push_back(prompt_size + static_cast<std::int64_t>(i));
    }
    std::int64_t const last = completion.empty() ? end_of_prompt : static_cast<std::int64_t>(batch.tokens.size()) - 1;
    if (where == read_at::end) read(last, 0);
    group.completions.push_back(static_cast<std::int64_t>(completion.size()));
    ++batch.sequences;
  }
}

ragged_batch pack_pairs(std::span<preference_pair const> pairs, std::span<std::size_t const> which, read_at where, bool share_prefixes) {
  ragged_batch batch;
  batch.shares_prefixes = share_prefixes;
  for (std::size_t const i : which) {
    preference_pair const& pair = pairs[i];
    std::span<std::int32_t const> const prompt(pair.prompt);
    std::array<std::span<std::int32_t const>, 2> const completions{pair.chosen, pair.rejected};
    if (pair.cut_for_chosen == pair.cut_for_rejected) {
      append(batch, prompt.subspan(pair.cut_for_chosen), completions, where);
      continue;
    }
    append(batch, prompt.subspan(pair.cut_for_chosen), std::span(completions).first(1), where);
    append(batch, prompt.subspan(pair.cut_for_rejected), std::span(completions).last(1), where);
  }
  return batch;
}

void learn_only(ragged_batch& batch, std::size_t first_row, std::size_t size, std::span<token_run const> learned) {
  std::size_t const rows = batch.rows.size() - first_row;
  auto const prompt = static_cast<std::size_t>(batch.prompts.back().prompt + batch.prompts.back().prefix.size);
  std::size_t kept = first_row, run = 0;
  for (std::size_t k = 0; k < rows; ++k) {
    std::size_t const token = prompt + (size - rows) + k;  // the first token has no row where nothing stands before it
    while (run < learned.size() && learned[run].end <= token) ++run;
    if (run == learned.size() || token < learned[run].begin) continue;
    batch.rows[kept] = batch.rows[first_row + k];
    batch.targets[kept] = batch.targets[first_row + k];
    batch.sequence[kept++] = batch.sequence[first_row + k];
  }
  batch.rows.resize(kept);
  batch.targets.resize(kept);
  batch.sequence.resize(kept);
}

void weigh_tails(ragged_batch& batch, double alpha) {
  std::vector<std::size_t> lengths(batch.sequences), seen(batch.sequences);
  for (std::int64_t const sequence : batch.sequence) ++lengths[static_cast<std::size_t>(sequence)];
  batch.weights.clear();
  for (std::int64_t const row : batch.sequence) {
    auto const sequence = static_cast<std::size_t>(row), first = sequence / 2 * 2;
    batch.weights.push_back(length_desensitized_weight(seen[sequence]++, std::min(lengths[first], lengths[first + 1]), alpha));
  }
}

std::vector<double> sums_by_sequence(std::span<double const> rows, ragged_batch const& batch) {
  std::vector<double> sums(batch.sequences);
  for (std::size_t r = 0; r < rows.size(); ++r)
    sums[static_cast<std::size_t>(batch.sequence[r])] += batch.weights.empty() ? rows[r] : batch.weights[r] * rows[r];
  return sums;
}

std::size_t shared_tokens(preference_pair const& pair) {
  std::size_t const prompts = pair.cut_for_chosen == pair.cut_for_rejected ? pair.prompt.size() - pair.cut_for_chosen
                                                                           : 2 * pair.prompt.size() - pair.cut_for_chosen - pair.cut_for_rejected;
  return prompts + pair.chosen.size() + pair.rejected.size();
}

std::vector<std::span<std::size_t const>> cut_micro_batches(std::span<preference_pair const> pairs,
                                                            std::span<std::size_t const> which,
                                                            std::size_t max_tokens) {
  return cut_by_tokens(which, max_tokens, [&](std::size_t i) { return shared_tokens(pairs[i]); });
}

}  // namespace kedge::llm
