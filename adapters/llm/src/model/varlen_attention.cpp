// SPDX-License-Identifier: Apache-2.0
#include "varlen_attention.hpp"

#include <algorithm>
#include <optional>

#include "on_device.hpp"

namespace kedge::llm::ops {
namespace {

std::optional<std::int64_t> left_of(attention_settings const& settings) {
  return settings.window > 0 ? std::optional(settings.window - 1) : std::nullopt;
}

std::optional<std::int64_t> right_of(attention_settings const& settings) { return settings.window > 0 ? std::optional<std::int64_t>(0) : std::nullopt; }

}  // namespace

varlen_sequences varlen_of(std::vector<shared_prompt> const& prompts) {
  varlen_sequences all;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) {
      std::int64_t keys = 0;
      for (token_range const& part : {run.prefix, run.prompt, run.own}) {
        for (std::int64_t i = 0; i < part.size; ++i) all.keys.push_back(part.begin + i);
        keys += part.size;
      }
      all.query_ends.push_back(all.query_ends.back() + static_cast<std::int32_t>(run.own.size));
      all.key_ends.push_back(all.key_ends.back() + static_cast<std::int32_t>(keys));
      all.most_queries = std::max(all.most_queries, run.own.size);
      all.most_keys = std::max(all.most_keys, keys);
    });
  return all;
}

bool takes_varlen(at::Tensor const& q, attention_settings const& settings) {
  return q.is_cuda() && at::isReducedFloatingType(q.scalar_type()) && settings.soft_cap == 0 && q.size(2) <= 256;
}

at::Tensor varlen_attention(std::vector<shared_prompt> const& prompts, attention_settings const& settings, at::Tensor const& q, at::Tensor const& k,
                            at::Tensor const& v, std::vector<at::Tensor>& kept) {
  varlen_sequences const all = varlen_of(prompts);
  at::Tensor const keys = on_device(at::tensor(all.keys, at::kLong), q.device()), query_ends = on_device(at::tensor(all.query_ends, at::kInt), q.device()),
                   key_ends = on_device(at::tensor(all.key_ends, at::kInt), q.device());
  auto [output, log_sums, state, offset, unused] =
      at::_flash_attention_forward(q, k.index_select(0, keys), v.index_select(0, keys), query_ends, key_ends, all.most_queries, all.most_keys, 0.0,
                                   /*is_causal=*/true, /*return_debug_mask=*/false, settings.scale, left_of(settings), right_of(settings));
  kept = {log_sums, state, offset, keys, query_ends, key_ends};
  return output;
}

shared_prompt_attention::gradients varlen_attention_backward(std::vector<shared_prompt> const& prompts, attention_settings const& settings,
                                                             at::Tensor const& g, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                                                             at::Tensor const& output, std::vector<at::Tensor> const& kept) {
  varlen_sequences const all = varlen_of(prompts);
  at::Tensor const &keys = kept[3], &query_ends = kept[4], &key_ends = kept[5];
  auto const [dq, dk, dv] = at::_flash_attention_backward(g, q, k.index_select(0, keys), v.index_select(0, keys), output, kept[0], query_ends, key_ends,
                                                          all.most_queries, all.most_keys, 0.0, /*is_causal=*/true, kept[1], kept[2], settings.scale,
                                                          left_of(settings), right_of(settings));
  // A prompt's keys stand in several sequences; their gradients are summed wide.
  auto const summed = [&](at::Tensor const& like, at::Tensor const& part) {
    return at::zeros(like.sizes(), like.options().dtype(at::kFloat)).index_add_(0, keys, part.to(at::kFloat)).to(like.scalar_type());
  };
  return {dq, summed(k, dk), summed(v, dv)};
}

}  // namespace kedge::llm::ops
