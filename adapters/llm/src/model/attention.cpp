// SPDX-License-Identifier: Apache-2.0
#include "attention_call.hpp"
#include "host_ops.hpp"
#include "launches.hpp"
#include "profile.hpp"
#include "ring_attention.hpp"
#include "varlen_attention.hpp"

namespace kedge::llm::ops {

namespace {

at::Tensor of(token_range const& tokens, at::Tensor const& x) { return x.narrow(0, tokens.begin, tokens.size); }

// All that a run's queries see: prefix, prompt, and their own.
at::Tensor seen(attention_run const& run, at::Tensor const& x) {
  std::int64_t const before = run.prefix.size + run.prompt.size;
  return before == 0 ? of(run.own, x) : at::cat({of(run.prefix, x), of(run.prompt, x), of(run.own, x)});
}

// The other way round: gradients of these.
void add_seen(attention_run const& run, at::Tensor const& gradient, at::Tensor const& onto) {
  std::int64_t begin = 0;
  for (token_range const& part : {run.prefix, run.prompt, run.own}) {
    of(part, onto).add_(gradient.narrow(0, begin, part.size));
    begin += part.size;
  }
}

// How often a token sees another one, or itself, with no window.
double visible_pairs(std::vector<shared_prompt> const& prompts) {
  double pairs = 0;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) {
      auto const own = static_cast<double>(run.own.size);
      pairs += own * static_cast<double>(run.prefix.size + run.prompt.size) + 0.5 * own * (own + 1);
    });
  return pairs;
}

}  // namespace

attention_segments::attention_segments(std::vector<shared_prompt> of_prompts, varlen_lists in_lists)
    : prompts(std::move(of_prompts)), runs(host_ops::runs_by_cost(prompts)), lists(std::move(in_lists)) {}

bool shared_prompt_attention::goes_fast(at::Tensor const& q) const { return host_ops::takes(q); }

at::Tensor shared_prompt_attention::forward(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  timed const scope(phase::attention);
  section const part("attention");
  scope.count(4 * visible_pairs(segments_->prompts) * static_cast<double>(q.size(1) * q.size(2)));
  log_sums_.clear();
  at::Tensor output = without_sinks(q, k, v);
  if (settings_.sinks.defined()) join_sinks(output);
  return output;
}

at::Tensor shared_prompt_attention::without_sinks(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  if (segments_->ring) return ring_attention(*segments_->ring, settings_, q, k, v, log_sums_.emplace_back());
  if (goes_fast(q)) return host_ops::attention(segments_->runs, settings_, q, k, v, log_sums_.emplace_back());
  if (segments_->lists.keys.defined()) return varlen_attention(segments_->lists, settings_, q, k, v, log_sums_);
  at::Tensor output = at::empty_like(q);
  for (shared_prompt const& group : segments_->prompts)
    each_run(group, [&](attention_run const& run) {
      attended const result =
          attention_call(settings_, by_head(of(run.own, q)), by_head(seen(run, k)), by_head(seen(run, v))).forward();
      of(run.own, output).copy_(by_token(result.output));
      log_sums_.push_back(result.log_sum);
    });
  return output;
}

shared_prompt_attention::gradients shared_prompt_attention::backward(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                                     at::Tensor const& v, at::Tensor const& output) const {
  timed const scope(phase::attention);
  section const part("attention");
  scope.count(8 * visible_pairs(segments_->prompts) * static_cast<double>(q.size(1) * q.size(2)));
  gradients total = of_keys(g, q, k, v, output);
  if (settings_.sinks.defined()) total.sinks = sink_gradient(g, output);
  return total;
}

shared_prompt_attention::gradients shared_prompt_attention::of_keys(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                                    at::Tensor const& v, at::Tensor const& output) const {
  gradients total;
  if (segments_->ring) return ring_attention_backward(*segments_->ring, settings_, g, q, k, v, output, log_sums_.front());
  if (goes_fast(q)) {
    host_ops::attention_backward(segments_->runs, settings_, g, q, k, v, output, log_sums_.front(), total.q, total.k, total.v);
    return total;
  }
  if (segments_->lists.keys.defined()) return varlen_attention_backward(segments_->lists, settings_, g, q, k, v, output, log_sums_);
  total = {at::empty_like(q), at::zeros_like(k), at::zeros_like(v), {}};
  std::size_t next = 0;
  for (shared_prompt const& group : segments_->prompts)
    each_run(group, [&](attention_run const& run) {
      attention_call const made(settings_, by_head(of(run.own, q)), by_head(seen(run, k)), by_head(seen(run, v)));
      gradients const part = made.backward(by_head(of(run.own, g)), {by_head(of(run.own, output)), log_sums_[next++]});
      of(run.own, total.q).copy_(by_token(part.q));
      add_seen(run, by_token(part.k), total.k);
      add_seen(run, by_token(part.v), total.v);
    });
  return total;
}

}  // namespace kedge::llm::ops
