// SPDX-License-Identifier: Apache-2.0
#include "token_stream.hpp"

#include <algorithm>
#include <string>

#include <kedge/llm/base/error.hpp>

#include "../base/thread_pool.hpp"
#include "sampler.hpp"
#include "token_draws.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t tokens_a_step = 512;  // bounds the activations of a step

}  // namespace

token_stream::token_stream(causal_lm const& model, pack const& weights) : model_(model) {
  at::NoGradGuard const no_grad;
  decoder_ = make_decoder(model, weights, shared_pool());
}

// Logits after the last of these tokens, which come behind those that are kept.
at::Tensor token_stream::append(std::span<std::int32_t const> tokens) {
  at::Tensor logits;
  while (!tokens.empty()) {
    std::size_t const n = std::min(tokens.size(), tokens_a_step);
    step_batch batch;
    for (std::size_t i = 0; i < n; ++i) {
      auto const position = static_cast<std::int64_t>(kept_.size());
      if (position / page_tokens == static_cast<std::int64_t>(pages_.size()))
        pages_.push_back(static_cast<std::int32_t>(pages_.size()));
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(static_cast<std::int32_t>(position));
      batch.sequence.push_back(0);
      kept_.push_back(tokens[i]);
    }
    batch.tables.emplace_back(pages_);
    if (n == tokens.size()) batch.rows.push_back(static_cast<std::int32_t>(n) - 1);
    decoder_->reserve(static_cast<std::int32_t>(pages_.size()));
    logits = decoder_->logits(batch);
    tokens = tokens.subspan(n);
  }
  return logits;
}

std::vector<std::int32_t> token_stream::answer(std::vector<std::int32_t> const& prompt, sampling_settings const& settings,
                                               std::size_t turn,
                                               std::function<bool(std::span<std::int32_t const>)> const& on_token) {
  at::NoGradGuard const no_grad;
  auto limit = static_cast<std::size_t>(model_.config().generation_positions());
  if (settings.max_length > 0) limit = std::min(limit, settings.max_length);
  if (prompt.empty()) throw error("there is no token to go on from");
  if (prompt.size() >= limit)
    throw error("the conversation has " + std::to_string(prompt.size()) +
                " tokens and leaves no room for an answer: there are " + std::to_string(limit) + " positions");
  std::size_t const most = std::min(settings.max_new_tokens, limit - prompt.size());
  // The last token of the prompt is computed again: its logits are wanted.
  std::size_t const same = static_cast<std::size_t>(
      std::mismatch(kept_.begin(), kept_.end(), prompt.begin(), prompt.end() - 1).first - kept_.begin());
  kept_.resize(same);
  at::Tensor logits = append(std::span(prompt).subspan(same));
  std::vector<std::int32_t> answer;
  for (;;) {
    double const u = settings.temperature == 0 ? 0 : uniform_draw(settings.seed, turn, 0, answer.size());
    wanted_token const next{0, {prompt, answer, most, settings.stop_tokens}, u};
    answer.push_back(draw_tokens(logits, {&next, 1}, settings, shared_pool()).front().token);
    bool const stopped =
        std::find(settings.stop_tokens.begin(), settings.stop_tokens.end(), answer.back()) != settings.stop_tokens.end();
    if (!on_token(answer) || stopped || answer.size() == most) return answer;
    logits = append(std::span(answer).last(1));
  }
}

}  // namespace kedge::llm
