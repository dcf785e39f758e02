// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "ops.hpp"

namespace kedge::llm::ops {

/// [S, heads, d] as attention wants it, [1, heads, S, d], and back.
[[nodiscard]] inline at::Tensor by_head(at::Tensor const& x) { return x.transpose(0, 1).unsqueeze(0); }
[[nodiscard]] inline at::Tensor by_token(at::Tensor const& x) { return x.squeeze(0).transpose(0, 1); }

/// What attention gives: [1, heads, S, d], and log Σ exp of scores, [1, heads, S].
struct attended {
  at::Tensor output, log_sum;
};

/// One attention call by plain tensor operations: the last queries of as many keys. The fused CPU kernel never holds the score matrix; where it
/// can't be used, plain products give the same result. It gets wide numbers: its backward step is several times slower in bf16 than in fp32,
/// which is more exact as well.
class attention_call {
 public:
  /// q: [1, heads, S, d], k and v: [1, kv_heads, keys, d]   settings: must outlive this
  attention_call(attention_settings const& settings, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v);

  [[nodiscard]] attended forward() const;
  [[nodiscard]] shared_prompt_attention::gradients backward(at::Tensor const& g, attended const& kept) const;

 private:
  [[nodiscard]] std::int64_t group() const { return q_.size(1) / k_.size(1); }
  [[nodiscard]] at::Tensor over_heads(at::Tensor const& x) const { return x.repeat_interleave(group(), 1); }
  [[nodiscard]] at::Tensor over_groups(at::Tensor const& x) const { return x.unflatten(1, {k_.size(1), group()}).sum(2); }
  [[nodiscard]] at::Tensor capped_scores() const;

  attention_settings const& settings_;
  at::Tensor q_, k_, v_;
  bool fused_;
  std::optional<at::Tensor> mask_;
};

}  // namespace kedge::llm::ops
