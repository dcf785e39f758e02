// SPDX-License-Identifier: Apache-2.0
#include "attention_call.hpp"

#include <cmath>

namespace kedge::llm::ops {
namespace {

// 0 where query i of `queries` may see key j of prompt + queries, -inf elsewhere.
at::Tensor visibility(std::int64_t prompt, std::int64_t queries, std::int64_t window, at::Tensor const& like) {
  at::ScalarType const type = like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor const all = at::full({queries, prompt + queries}, -INFINITY, like.options().dtype(type));
  at::Tensor future = at::triu(all, prompt + 1);
  return window > 0 && window < prompt + queries ? future.add_(at::tril(all, prompt - window)) : future;
}

}  // namespace

attention_call::attention_call(attention_settings const& settings, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v)
    : settings_(settings), q_(q), k_(k), v_(v), fused_(q.is_cpu() && settings.soft_cap == 0) {
  std::int64_t const queries = q.size(2), prompt = k.size(2) - queries;
  bool const plain = prompt == 0 && (settings.window == 0 || settings.window >= queries);
  if (!plain || !fused_) mask_ = visibility(prompt, queries, settings.window, q);
}

attended attention_call::forward() const {
  if (fused_) {
    auto [output, log_sum] =
        at::_scaled_dot_product_flash_attention_for_cpu(wide(q_), wide(k_), wide(v_), 0.0, !mask_, mask_, settings_.scale);
    return {output.to(q_.scalar_type()), log_sum};
  }
  at::Tensor scores = capped_scores().add_(*mask_);
  at::Tensor const log_sum = at::logsumexp(scores, -1);
  return {at::matmul(scores.sub_(log_sum.unsqueeze(-1)).exp_().to(v_.scalar_type()), over_heads(v_)), log_sum};
}

shared_prompt_attention::gradients attention_call::backward(at::Tensor const& g, attended const& kept) const {
  if (fused_) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        wide(g), wide(q_), wide(k_), wide(v_), wide(kept.output), kept.log_sum, 0.0, !mask_, mask_, settings_.scale);
    return {dq, dk, dv, {}};  // copied into gradients of q's type
  }
  at::Tensor const scores = capped_scores();
  at::Tensor const p = at::add(scores, *mask_).sub_(kept.log_sum.unsqueeze(-1)).exp_();
  at::Tensor const dp = at::matmul(g, over_heads(v_).transpose(-1, -2)).to(p.scalar_type());
  at::Tensor const inner = at::mul(g, kept.output).sum(-1, /*keepdim=*/true, p.scalar_type());
  at::Tensor ds = (dp - inner).mul_(p).mul_(settings_.scale);
  ds = soft_cap_backward_(ds, scores, settings_.soft_cap).to(q_.scalar_type());
  return {at::matmul(ds, over_heads(k_)), over_groups(at::matmul(ds.transpose(-1, -2), q_)),
          over_groups(at::matmul(p.to(g.scalar_type()).transpose(-1, -2), g)), {}};
}

at::Tensor attention_call::capped_scores() const {
  at::Tensor scores = wide(at::matmul(q_, over_heads(k_).transpose(-1, -2))).mul_(settings_.scale);
  return soft_cap_(scores, settings_.soft_cap);
}

}  // namespace kedge::llm::ops
