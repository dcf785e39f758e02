// SPDX-License-Identifier: Apache-2.0
#include "expert_rows.hpp"

#include <algorithm>
#include <cmath>

namespace kedge::llm {

void expert_rows::resize(std::size_t tokens) {
  choices_.resize(tokens * each());
  parts_.resize(tokens * each());
  token_.resize(tokens * each());
}

void expert_rows::choose(std::size_t token, float* logits) {
  auto const count = static_cast<std::size_t>(settings_.count);
  float const most = *std::max_element(logits, logits + count);
  float total = 0, of_chosen = 0;
  for (std::size_t e = 0; e < count; ++e) total += logits[e] = std::exp(logits[e] - most);
  choice* const mine = &choices_[token * each()];
  for (std::size_t j = 0; j < each(); ++j) {
    auto const taken = [&](std::size_t e) {
      return std::any_of(mine, mine + j, [&](choice const& c) { return c.expert == e; });
    };
    std::size_t best = count;
    for (std::size_t e = 0; e < count; ++e)
      if (!taken(e) && (best == count || logits[e] > logits[best])) best = e;
    mine[j] = {best, logits[best] / total};
    of_chosen += mine[j].weight;
  }
  if (settings_.normalised)
    for (std::size_t j = 0; j < each(); ++j) mine[j].weight /= of_chosen;
  std::sort(mine, mine + each(), [](choice const& a, choice const& b) { return a.expert < b.expert; });
}

void expert_rows::sort() {
  begin_.assign(static_cast<std::size_t>(settings_.count) + 1, 0);
  for (choice const& c : choices_) ++begin_[c.expert + 1];
  for (std::size_t e = 0; e + 1 < begin_.size(); ++e) begin_[e + 1] += begin_[e];
  std::vector<std::size_t> next = begin_;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    std::size_t const row = next[choices_[i].expert]++;
    token_[row] = i / each();
    parts_[i] = {row, choices_[i].weight};
  }
}

}  // namespace kedge::llm
