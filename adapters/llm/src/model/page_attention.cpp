// SPDX-License-Identifier: Apache-2.0
#include "page_attention.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <vector>

#include "../kernels/cuda/attention_plan.hpp"
#include "gpu_way.hpp"
#include "launches.hpp"
#include "ops.hpp"

namespace kedge::llm {
namespace {

// Structures of whole numbers as a list of these.
template <class Structure>
std::span<std::int64_t const> numbers_of(std::vector<Structure> const& all) {
  static_assert(std::is_trivially_copyable_v<Structure> && sizeof(Structure) % sizeof(std::int64_t) == 0);
  return {reinterpret_cast<std::int64_t const*>(all.data()), all.size() * (sizeof(Structure) / sizeof(std::int64_t))};
}

}  // namespace

page_attention::page_attention(transformer_config const& config, step_batch const& batch, at::TensorOptions const& pages, number_lists& lists)
    : config_(config),
      has_kernel_(gpu_kernels(pages.device()) && (pages.dtype() == at::kFloat || pages.dtype() == at::kBFloat16)),
      sequences_(static_cast<std::int64_t>(batch.tables.size())),
      wide_(pages.dtype() == at::kDouble ? at::kDouble : at::kFloat) {
  std::vector<std::int64_t> entries(batch.size()), pages_of_all;
  for (std::size_t t = 0; t < batch.size(); ++t) {
    std::int64_t const page = batch.positions[t] / page_tokens;
    most_pages_ = std::max(most_pages_, page + 1);
    entries[t] = batch.tables[static_cast<std::size_t>(batch.sequence[t])][static_cast<std::size_t>(page)] * page_tokens + batch.positions[t] % page_tokens;
  }
  for (auto const table : batch.tables)
    for (std::size_t i = 0; i < static_cast<std::size_t>(most_pages_); ++i) pages_of_all.push_back(i < table.size() ? table[i] : table.front());
  lists.add(batch.positions, positions_);
  lists.add(entries, entries_);
  lists.add(pages_of_all, pages_);
  has_kernel_ ? plan_kernel(batch, lists) : plan_operations(batch, lists);
}

void page_attention::plan_kernel(step_batch const& batch, number_lists& lists) {
  attention_plan const plan = plan_attention<std::int32_t>(batch.sequence, batch.positions, config_.heads / config_.kv_heads);
  lists.add(numbers_of(plan.parts), parts_);
  lists.add(numbers_of(plan.joins), joins_);
  part_count_ = static_cast<std::int64_t>(plan.parts.size());
  join_count_ = static_cast<std::int64_t>(plan.joins.size());
  partial_count_ = plan.partial_count;
  most_queries_ = plan.most_queries;
  for (std::int32_t const position : batch.positions) keys_read_ += position + 1;
}

void page_attention::plan_operations(step_batch const& batch, number_lists& lists) {
  std::vector<std::int64_t> slots(batch.size());
  for (std::size_t t = 0; t < batch.size(); ++t) {
    slots[t] = t > 0 && batch.sequence[t] == batch.sequence[t - 1] ? slots[t - 1] + 1 : 0;  // the rank, first
    queries_ = std::max(queries_, slots[t] + 1);
  }
  std::vector<std::int64_t> last(static_cast<std::size_t>(sequences_ * queries_));
  for (std::size_t t = 0; t < batch.size(); ++t) {
    slots[t] += batch.sequence[t] * queries_;
    last[static_cast<std::size_t>(slots[t])] = batch.positions[t];
  }
  lists.add(slots, slots_);
  lists.add(last, last_);
}

void page_attention::keep(layer_pages const& to, at::Tensor const& k, at::Tensor const& v) const {
  section const part("attention");
  to.keys.flatten(0, 1).index_copy_(0, entries_, k.to(to.keys.scalar_type()));
  to.values.flatten(0, 1).index_copy_(0, entries_, v.to(to.values.scalar_type()));
}

at::Tensor page_attention::attend(at::Tensor const& q, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks) {
  section const part("attention");
  return has_kernel_ ? by_kernel(q, kept, window, sinks) : by_operations(q, kept, window, sinks);
}

at::Tensor page_attention::by_kernel(at::Tensor const& given, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks) {
  std::int64_t const T = given.size(0), heads = config_.heads, d = config_.head_dim;
  at::Tensor q = given.to(kept.keys.scalar_type());
  if (q.stride(2) != 1 || q.stride(1) != d) q = q.contiguous();
  at::Tensor const out = at::empty({T, heads, d}, q.options()), keys = kept.keys.flatten(0, 1), values = kept.values.flatten(0, 1);
  if (partial_count_ > 0 && !partial_.defined()) partial_ = at::empty({partial_count_, heads, d + 2}, q.options().dtype(at::kFloat));
  // Of keys and values, as many as are read.
  auto const read = [&](at::Tensor const& all) { return all.narrow(0, 0, std::min(all.size(0), keys_read_)); };
  launch_mark const mark("kedge::paged_attention", {q, read(keys), read(values), out, partial_, partial_}, join_count_ > 0 ? 2 : 1);
  gpu_kernels(q.device())
      ->paged_attention(current_stream(q.device()), {.heads = heads,
                                                     .kv_heads = config_.kv_heads,
                                                     .head_dim = d,
                                                     .page_tokens = page_tokens,
                                                     .q = matrix_of(q),
                                                     .keys = matrix_of(keys),
                                                     .values = matrix_of(values),
                                                     .pages = pages_.const_data_ptr<std::int64_t>(),
                                                     .most_pages = most_pages_,
                                                     .positions = positions_.const_data_ptr<std::int64_t>(),
                                                     .parts = static_cast<gpu_attention_part const*>(parts_.const_data_ptr()),
                                                     .part_count = part_count_,
                                                     .most_queries = most_queries_,
                                                     .joins = static_cast<gpu_attention_join const*>(joins_.const_data_ptr()),
                                                     .join_count = join_count_,
                                                     .partial = partial_.defined() ? partial_.mutable_data_ptr<float>() : nullptr,
                                                     .partial_count = partial_count_,
                                                     .scale = static_cast<float>(config_.score_scale()),
                                                     .soft_cap = static_cast<float>(config_.attention_soft_cap),
                                                     .window = window,
                                                     .sinks = sinks.defined() ? sinks.const_data_ptr<float>() : nullptr,
                                                     .out = matrix_of(out)});
  return out.to(given.scalar_type());
}

at::Tensor page_attention::by_operations(at::Tensor const& q, layer_pages const& kept, std::int64_t window, at::Tensor const& sinks) const {
  std::int64_t const S = sequences_, Q = queries_, G = config_.heads / config_.kv_heads, kv = config_.kv_heads, d = config_.head_dim, keys = most_pages_ * page_tokens;
  auto const of_sequences = [&](at::Tensor const& pages) { return pages.index_select(0, pages_).view({S, keys, kv, d}).transpose(1, 2).to(wide_); };
  at::Tensor spread = at::zeros({S * Q, config_.heads, d}, q.options().dtype(wide_));
  spread.index_copy_(0, slots_, q.to(wide_));
  spread = spread.view({S, Q, kv, G, d}).permute({0, 2, 3, 1, 4}).reshape({S, kv, G * Q, d});
  at::Tensor scores = at::matmul(spread, of_sequences(kept.keys).transpose(-1, -2)).mul_(config_.score_scale());
  ops::soft_cap_(scores, config_.attention_soft_cap);
  scores = scores.view({S, kv, G, Q, keys}).masked_fill_(hidden(window), -INFINITY);
  at::Tensor const share = sinks.defined() ? with_sinks(scores, sinks) : scores.softmax(-1);
  at::Tensor const out = at::matmul(share.view({S, kv, G * Q, keys}), of_sequences(kept.values));
  return out.view({S, kv, G, Q, d}).permute({0, 3, 1, 2, 4}).reshape({S * Q, config_.heads, d}).index_select(0, slots_).to(q.scalar_type());
}

// [sequences, 1, 1, queries, keys] true where the key is not to be seen
at::Tensor page_attention::hidden(std::int64_t window) const {
  at::Tensor const key = at::arange(most_pages_ * page_tokens, last_.options()), last = last_.unsqueeze(-1);
  at::Tensor unseen = key.gt(last);
  if (window > 0) unseen.logical_or_(key.le(last - window));
  return unseen.view({sequences_, 1, 1, queries_, -1});
}

// Shares of the keys, where a score for no key joins them.   scores: [sequences, kv_heads, heads / kv_heads, queries, keys]
at::Tensor page_attention::with_sinks(at::Tensor const& scores, at::Tensor const& sinks) const {
  at::Tensor const none = sinks.view({1, scores.size(1), scores.size(2), 1, 1});
  return at::exp(scores - at::logaddexp(scores.logsumexp(-1, /*keepdim=*/true), none));
}

}  // namespace kedge::llm
