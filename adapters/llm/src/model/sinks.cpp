// SPDX-License-Identifier: Apache-2.0

// Scores that stand for no key: OpenAI 2025, gpt-oss; arXiv 2309.17453.

#include "ops.hpp"

namespace kedge::llm::ops {

namespace {

at::Tensor rows_of(token_range const& tokens, at::Tensor const& x) { return x.narrow(0, tokens.begin, tokens.size); }

// f(log Σ exp of scores, [heads, tokens], and where these tokens lie), for each call of attention, or once for all.
template <class F>
void each_sum(std::vector<shared_prompt> const& prompts, std::vector<at::Tensor> const& log_sums, std::int64_t tokens, F&& f) {
  if (log_sums.front().dim() == 2) return f(log_sums.front(), token_range{0, tokens});
  std::size_t next = 0;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) { f(log_sums[next++].squeeze(0), run.own); });
}

}  // namespace

// With L = log Σ exp(scores) and a sink s, L' = log(e^L + e^s): what attention gave shrinks by e^(L − L').
void shared_prompt_attention::join_sinks(at::Tensor& output) {
  each_sum(segments_->prompts, log_sums_, output.size(0), [&](at::Tensor sums, token_range const& tokens) {
    at::Tensor const joined = at::logaddexp(sums, settings_.sinks.to(sums.scalar_type()).unsqueeze(-1));
    rows_of(tokens, output).mul_(at::sub(sums, joined).exp_().t().unsqueeze(-1));
    sums.copy_(joined);
  });
}

// A sink's own share p of attention adds nothing to the output o: ∂/∂s = −Σ p (g · o).   [heads]
at::Tensor shared_prompt_attention::sink_gradient(at::Tensor const& g, at::Tensor const& output) const {
  at::Tensor total = at::zeros({output.size(1)}, wide(output).options());
  each_sum(segments_->prompts, log_sums_, output.size(0), [&](at::Tensor const& sums, token_range const& tokens) {
    at::Tensor const share = at::rsub(sums, settings_.sinks.to(sums.scalar_type()).unsqueeze(-1)).exp_();
    at::Tensor const inner = at::mul(wide(rows_of(tokens, g)), rows_of(tokens, output)).sum(-1);
    total.sub_(at::mul(inner, share.t()).sum(0));
  });
  return total;
}

}  // namespace kedge::llm::ops
