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

// Gives the last runs, of one key each, evenly those that are left: each sees its own token as often.
void share_keys_left(varlen_sequences& all, std::int64_t keys) {
  std::int64_t const first = all.key_ends.back() - spare_runs, each = (keys - first) / spare_runs, more = (keys - first) % spare_runs;
  std::vector<std::int64_t> const tokens(all.keys.end() - spare_runs, all.keys.end());
  all.keys.resize(static_cast<std::size_t>(first));
  for (std::int64_t i = 0; i < spare_runs; ++i) {
    all.keys.insert(all.keys.end(), static_cast<std::size_t>(each + (i < more ? 1 : 0)), tokens[static_cast<std::size_t>(i)]);
    all.key_ends[all.key_ends.size() - static_cast<std::size_t>(spare_runs - i)] = static_cast<std::int32_t>(all.keys.size());
  }
}

}  // namespace

varlen_sequences varlen_of(std::vector<shared_prompt> const& prompts, packed_size const* fixed) {
  varlen_sequences all;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) {
      for (token_range const& part : {run.prefix, run.prompt, run.own})
        for (std::int64_t i = 0; i < part.size; ++i) all.keys.push_back(part.begin + i);
      auto const keys = static_cast<std::int32_t>(all.keys.size());
      all.most_queries = std::max(all.most_queries, run.own.size);
      all.most_keys = std::max<std::int64_t>(all.most_keys, keys - all.key_ends.back());
      all.query_ends.push_back(all.query_ends.back() + static_cast<std::int32_t>(run.own.size));
      all.key_ends.push_back(keys);
    });
  if (!fixed) return all;
  all.most_queries = all.most_keys = fixed->longest;
  share_keys_left(all, fixed->keys);
  auto const ends = static_cast<std::size_t>(fixed->runs) + 1;
  all.query_ends.resize(ends, all.query_ends.back());
  all.key_ends.resize(ends, all.key_ends.back());
  return all;
}

varlen_lists lists_on(at::Device device, varlen_sequences const& all) {
  return {on_device(at::tensor(all.keys, at::kLong), device), on_device(at::tensor(all.query_ends, at::kInt), device),
          on_device(at::tensor(all.key_ends, at::kInt), device), all.most_queries, all.most_keys};
}

bool takes_varlen(at::Device device, at::ScalarType type, std::int64_t head_dim, double soft_cap) {
  return device.is_cuda() && at::isReducedFloatingType(type) && soft_cap == 0 && head_dim <= 256;
}

at::Tensor varlen_attention(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v,
                            std::vector<at::Tensor>& kept) {
  auto [output, log_sums, state, offset, unused] = at::_flash_attention_forward(
      q, k.index_select(0, lists.keys), v.index_select(0, lists.keys), lists.query_ends, lists.key_ends, lists.most_queries, lists.most_keys, 0.0,
      /*is_causal=*/true, /*return_debug_mask=*/false, settings.scale, left_of(settings), right_of(settings));
  kept = {log_sums, state, offset};
  return output;
}

shared_prompt_attention::gradients varlen_attention_backward(varlen_lists const& lists, attention_settings const& settings, at::Tensor const& g,
                                                             at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, at::Tensor const& output,
                                                             std::vector<at::Tensor> const& kept) {
  auto const [dq, dk, dv] = at::_flash_attention_backward(
      g, q, k.index_select(0, lists.keys), v.index_select(0, lists.keys), output, kept[0], lists.query_ends, lists.key_ends, lists.most_queries,
      lists.most_keys, 0.0, /*is_causal=*/true, kept[1], kept[2], settings.scale, left_of(settings), right_of(settings));
  // A prompt's keys stand in several sequences; their gradients are summed wide.
  auto const summed = [&](at::Tensor const& like, at::Tensor const& part) {
    return at::zeros(like.sizes(), like.options().dtype(at::kFloat)).index_add_(0, lists.keys, part.to(at::kFloat)).to(like.scalar_type());
  };
  return {dq, summed(k, dk), summed(v, dv), {}};
}

}  // namespace kedge::llm::ops
