// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "decoder.hpp"
#include "model_tensors.hpp"
#include "rope.hpp"

namespace kedge::llm {
namespace {

at::Tensor indices(std::vector<std::int64_t> const& values, at::Device device) {
  return at::tensor(at::ArrayRef<std::int64_t>(values), at::kLong).to(device);
}

at::Tensor indices(std::vector<std::int32_t> const& values, at::Device device) {
  return indices(std::vector<std::int64_t>(values.begin(), values.end()), device);
}

// Where a step's tokens and pages lie, as index tensors, made once for all layers.
struct step_layout {
  std::int64_t sequences, queries, keys;  // queries, keys: the most of any sequence
  at::Tensor entry;                       // [T] where a token's keys go: page · page_tokens + offset
  at::Tensor query;                       // [T] sequence · queries + rank within the sequence
  at::Tensor pages;                       // [sequences · keys / page_tokens]
  at::Tensor last;                        // [sequences · queries, 1] the key that each query sees last

  step_layout(step_batch const& batch, at::Device device) : sequences(static_cast<std::int64_t>(batch.tables.size())), queries(0), keys(0) {
    std::vector<std::int64_t> rank(batch.size()), entries(batch.size()), slots(batch.size()), page_ids;
    std::int64_t most_pages = 0;
    for (std::size_t t = 0; t < batch.size(); ++t) {
      rank[t] = t > 0 && batch.sequence[t] == batch.sequence[t - 1] ? rank[t - 1] + 1 : 0;
      std::int64_t const page = batch.positions[t] / page_tokens;
      queries = std::max(queries, rank[t] + 1);
      most_pages = std::max(most_pages, page + 1);
      auto const table = batch.tables[static_cast<std::size_t>(batch.sequence[t])];
      entries[t] = table[static_cast<std::size_t>(page)] * page_tokens + batch.positions[t] % page_tokens;
    }
    keys = most_pages * page_tokens;
    std::vector<std::int64_t> own(static_cast<std::size_t>(sequences * queries));
    for (std::size_t t = 0; t < batch.size(); ++t) {
      slots[t] = batch.sequence[t] * queries + rank[t];
      own[static_cast<std::size_t>(slots[t])] = batch.positions[t];
    }
    for (auto const table : batch.tables)
      for (std::int64_t i = 0; i < most_pages; ++i)
        page_ids.push_back(static_cast<std::size_t>(i) < table.size() ? table[static_cast<std::size_t>(i)] : table.front());
    entry = indices(entries, device);
    query = indices(slots, device);
    pages = indices(page_ids, device);
    last = indices(own, device).unsqueeze(-1);
  }

  // [sequences, 1, 1, queries, keys] true where the key is not to be seen
  [[nodiscard]] at::Tensor hidden(std::int64_t window) const {
    at::Tensor const key = at::arange(keys, entry.options());
    at::Tensor unseen = key.gt(last);
    if (window > 0) unseen.logical_or_(key.le(last - window));
    return unseen.view({sequences, 1, 1, queries, keys});
  }
};

class tensor_decoder final : public decoder {
 public:
  tensor_decoder(causal_lm const& model, pack const& weights)
      : model_(model),
        config_(model.config()),
        settings_(model.settings()),
        weights_(weights),
        frequencies_(ops::inverse_frequencies(config_.rope, config_.head_dim).to(settings_.device)),
        local_frequencies_(ops::inverse_frequencies(config_.local_rope, config_.head_dim).to(settings_.device)),
        wide_(settings_.type == at::kDouble ? at::kDouble : at::kFloat),
        cache_(static_cast<std::size_t>(config_.layers)) {
    reserve(1);
  }

  void reserve(std::int32_t pages) override {
    if (pages <= capacity_) return;
    std::int64_t const larger = std::max<std::int64_t>(pages, capacity_ * 3 / 2);
    for (auto& layer : cache_)
      for (at::Tensor* const kept : {&layer.keys, &layer.values}) {
        // Zeros, since hidden keys get weight 0, and 0 · NaN is NaN.
        at::Tensor const grown = at::zeros({larger, page_tokens, config_.kv_heads, config_.head_dim}, weights_.front().options());
        if (kept->defined()) grown.narrow(0, 0, capacity_).copy_(*kept);
        *kept = grown;
      }
    capacity_ = larger;
  }

  void copy_page(std::int32_t from, std::int32_t to) override {
    for (auto& layer : cache_)
      for (at::Tensor* const kept : {&layer.keys, &layer.values}) kept->select(0, to).copy_(kept->select(0, from));
  }

  at::Tensor logits(step_batch const& batch) override {
    at::NoGradGuard const no_grad;
    model_tensors const w = model_tensors::weights(model_, weights_);
    at::Device const device = settings_.device;
    step_layout const layout(batch, device);
    ops::rotations const rotations(config_, indices(batch.positions, device), frequencies_, local_frequencies_, settings_.type);
    at::Tensor x = embed(config_, w.embedding(), indices(batch.tokens, device));
    for (std::int64_t i = 0; i < config_.layers; ++i) {
      layer_settings const of_layer = config_.layer(i);
      layer_tape scratch;
      layer_tensors const own = w.layer(i);
      auto const attend = [&](at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
        layer_cache& kept = cache_[static_cast<std::size_t>(i)];
        kept.keys.flatten(0, 1).index_copy_(0, layout.entry, k.to(kept.keys.scalar_type()));
        kept.values.flatten(0, 1).index_copy_(0, layout.entry, v.to(kept.values.scalar_type()));
        return attend_pages(q, kept, layout, of_layer.window, own.sinks);
      };
      x = layer_forward(config_, own, x, rotations.of(of_layer), attend, scratch);
    }
    at::Tensor const rows = ops::rms_norm(x.index_select(0, indices(batch.rows, device)), config_.rms_norm_eps, config_.norm_offset, config_.norm)
                                .output(w.final_norm(), w.final_norm_bias(), settings_.type);
    at::Tensor scores = apply(w.head(), rows).to(at::kCPU, wide_).contiguous();
    return ops::soft_cap_(scores, config_.logit_soft_cap).mul_(config_.logit_scale);
  }

 private:
  struct layer_cache {
    at::Tensor keys, values;  // [pages, page_tokens, kv_heads, d]
  };

  // q: [T, heads, d] -> the same. Only here sequences are brought to one length, behind a mask.
  at::Tensor attend_pages(at::Tensor const& q, layer_cache const& kept, step_layout const& at, std::int64_t window, at::Tensor const& sinks) {
    std::int64_t const S = at.sequences, Q = at.queries, G = config_.heads / config_.kv_heads, kv = config_.kv_heads, d = config_.head_dim;
    auto const of_sequences = [&](at::Tensor const& pages) {
      return pages.index_select(0, at.pages).view({S, at.keys, kv, d}).transpose(1, 2).to(wide_);
    };
    at::Tensor spread = at::zeros({S * Q, config_.heads, d}, q.options().dtype(wide_));
    spread.index_copy_(0, at.query, q.to(wide_));
    spread = spread.view({S, Q, kv, G, d}).permute({0, 2, 3, 1, 4}).reshape({S, kv, G * Q, d});
    at::Tensor scores = at::matmul(spread, of_sequences(kept.keys).transpose(-1, -2)).mul_(config_.score_scale());
    ops::soft_cap_(scores, config_.attention_soft_cap);
    scores = scores.view({S, kv, G, Q, at.keys}).masked_fill_(at.hidden(window), -INFINITY);
    at::Tensor const share = sinks.defined() ? with_sinks(scores, sinks) : scores.softmax(-1);
    at::Tensor const out = at::matmul(share.view({S, kv, G * Q, at.keys}), of_sequences(kept.values));
    return out.view({S, kv, G, Q, d}).permute({0, 3, 1, 2, 4}).reshape({S * Q, config_.heads, d}).index_select(0, at.query).to(q.scalar_type());
  }

  // Shares of the keys, where a score for no key joins them.   scores: [sequences, kv_heads, heads / kv_heads, queries, keys]
  [[nodiscard]] at::Tensor with_sinks(at::Tensor const& scores, at::Tensor const& sinks) const {
    at::Tensor const none = sinks.to(wide_).view({1, scores.size(1), scores.size(2), 1, 1});
    return at::exp(scores - at::logaddexp(scores.logsumexp(-1, /*keepdim=*/true), none));
  }

  causal_lm const& model_;
  transformer_config const& config_;
  compute_settings const& settings_;
  pack const& weights_;
  at::Tensor frequencies_, local_frequencies_;
  at::ScalarType wide_;
  std::vector<layer_cache> cache_;
  std::int64_t capacity_ = 0;
};

}  // namespace

std::unique_ptr<decoder> make_tensor_decoder(causal_lm const& model, pack const& weights) {
  return std::make_unique<tensor_decoder>(model, weights);
}

}  // namespace kedge::llm
