// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/data/ragged.hpp>

#include <array>

namespace kedge::llm {

void append(ragged_batch& batch, std::span<std::int32_t const> prompt,
            std::span<std::span<std::int32_t const> const> completions) {
  auto const begin = static_cast<std::int64_t>(batch.tokens.size());
  auto const prompt_size = static_cast<std::int64_t>(prompt.size());
  shared_prompt& group = batch.prompts.emplace_back(shared_prompt{begin, prompt_size, {}});
  for (std::int64_t i = 0; i < prompt_size; ++i) {
    batch.tokens.push_back(prompt[static_cast<std::size_t>(i)]);
    batch.positions.push_back(i);
  }
  for (std::span<std::int32_t const> const completion : completions) {
    auto const first = static_cast<std::int64_t>(batch.tokens.size());
    for (std::size_t i = 0; i < completion.size(); ++i) {
      std::int64_t const here = first + static_cast<std::int64_t>(i);
      std::int64_t const before = i > 0 ? here - 1 : begin + prompt_size - 1;
      if (i > 0 || prompt_size > 0) {
        batch.rows.push_back(before);
        batch.targets.push_back(completion[i]);
        batch.sequence.push_back(static_cast<std::int64_t>(batch.sequences));
      }
      batch.tokens.push_back(completion[i]);
      batch.positions.push_back(prompt_size + static_cast<std::int64_t>(i));
    }
    group.completions.push_back(static_cast<std::int64_t>(completion.size()));
    ++batch.sequences;
  }
}

ragged_batch pack_pairs(std::span<preference_pair const> pairs, std::span<std::size_t const> which) {
  ragged_batch batch;
  for (std::size_t const i : which) {
    preference_pair const& pair = pairs[i];
    std::array<std::span<std::int32_t const>, 2> const completions{pair.chosen, pair.rejected};
    append(batch, pair.prompt, completions);
  }
  return batch;
}

std::size_t shared_tokens(preference_pair const& pair) {
  return pair.prompt.size() + pair.chosen.size() + pair.rejected.size();
}

std::vector<std::span<std::size_t const>> cut_micro_batches(std::span<preference_pair const> pairs,
                                                            std::span<std::size_t const> which,
                                                            std::size_t max_tokens) {
  std::vector<std::span<std::size_t const>> cuts;
  std::size_t first = 0, tokens = 0;
  for (std::size_t i = 0; i < which.size(); ++i) {
    std::size_t const size = shared_tokens(pairs[which[i]]);
    if (i > first && tokens + size > max_tokens) {
      cuts.push_back(which.subspan(first, i - first));
      first = i;
      tokens = 0;
    }
    tokens += size;
  }
  if (first < which.size()) cuts.push_back(which.subspan(first));
  return cuts;
}

}  // namespace kedge::llm
