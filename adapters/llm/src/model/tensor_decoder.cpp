// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "decoder.hpp"
#include "ops.hpp"
#include "slots.hpp"

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
  at::Tensor hidden;                      // [sequences, 1, 1, queries, keys] true where the key is not to be seen

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
    std::vector<std::int64_t> last(static_cast<std::size_t>(sequences * queries));  // key that each query sees last
    for (std::size_t t = 0; t < batch.size(); ++t) {
      slots[t] = batch.sequence[t] * queries + rank[t];
      last[static_cast<std::size_t>(slots[t])] = batch.positions[t];
    }
    for (auto const table : batch.tables)
      for (std::int64_t i = 0; i < most_pages; ++i)
        page_ids.push_back(static_cast<std::size_t>(i) < table.size() ? table[static_cast<std::size_t>(i)] : table.front());
    entry = indices(entries, device);
    query = indices(slots, device);
    pages = indices(page_ids, device);
    hidden = at::arange(keys, entry.options()).gt(indices(last, device).unsqueeze(-1)).view({sequences, 1, 1, queries, keys});
  }
};

class tensor_decoder final : public decoder {
 public:
  tensor_decoder(causal_lm const& model, pack const& weights)
      : config_(model.config()),
        settings_(model.settings()),
        weights_(weights),
        inverse_frequencies_(ops::inverse_frequencies(config_.rope, config_.head_dim).to(settings_.device)),
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
        at::Tensor const grown = at::zeros({larger, page_tokens, config_.kv_heads, config_.head_dim}, weights_[0].options());
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
    slots const at_slot{config_};
    at::Device const device = settings_.device;
    step_layout const layout(batch, device);
    ops::rotation const rotation(indices(batch.positions, device), inverse_frequencies_, settings_.type);
    at::Tensor x = weights_[at_slot.embedding()].index_select(0, indices(batch.tokens, device)).to(wide_);
    for (std::int64_t i = 0; i < config_.layers; ++i) x = layer_step(i, x, rotation, layout);
    at::Tensor const rows = ops::rms_norm(x.index_select(0, indices(batch.rows, device)), config_.rms_norm_eps)
                                .output(weights_[at_slot.final_norm()]);
    return ops::linear(rows, weights_[at_slot.head()]).to(at::kCPU, wide_).contiguous();
  }

 private:
  struct layer_cache {
    at::Tensor keys, values;  // [pages, page_tokens, kv_heads, d]
  };

  at::Tensor layer_step(std::int64_t i, at::Tensor const& x, ops::rotation const& rotation, step_layout const& layout) {
    transformer_config const& c = config_;
    std::int64_t const T = x.size(0);
    std::size_t const first = slots{c}.layer(i);
    auto const weight = [&](layer_slot slot) -> at::Tensor const& { return weights_[first + slot]; };
    layer_cache& kept = cache_[static_cast<std::size_t>(i)];
    at::Tensor h = ops::rms_norm(x, c.rms_norm_eps).output(weight(input_norm));
    at::Tensor const q = rotation.forward(ops::linear(h, weight(q_proj)).view({T, c.heads, c.head_dim}));
    at::Tensor const k = rotation.forward(ops::linear(h, weight(k_proj)).view({T, c.kv_heads, c.head_dim}));
    at::Tensor const v = ops::linear(h, weight(v_proj)).view({T, c.kv_heads, c.head_dim});
    kept.keys.flatten(0, 1).index_copy_(0, layout.entry, k);
    kept.values.flatten(0, 1).index_copy_(0, layout.entry, v);
    at::Tensor const middle = ops::linear_onto(x, attend(q, kept, layout), weight(o_proj));
    h = ops::rms_norm(middle, c.rms_norm_eps).output(weight(post_norm));
    return ops::linear_onto(middle, ops::swiglu(ops::linear(h, weight(gate_proj)), ops::linear(h, weight(up_proj))), weight(down_proj));
  }

  // q: [T, heads, d] -> [T, heads · d]. Only here sequences are brought to one length, behind a mask.
  at::Tensor attend(at::Tensor const& q, layer_cache const& kept, step_layout const& at) {
    std::int64_t const S = at.sequences, Q = at.queries, G = config_.heads / config_.kv_heads, kv = config_.kv_heads, d = config_.head_dim;
    auto const of_sequences = [&](at::Tensor const& pages) {
      return pages.index_select(0, at.pages).view({S, at.keys, kv, d}).transpose(1, 2).to(wide_);
    };
    at::Tensor spread = at::zeros({S * Q, config_.heads, d}, q.options().dtype(wide_));
    spread.index_copy_(0, at.query, q.to(wide_));
    spread = spread.view({S, Q, kv, G, d}).permute({0, 2, 3, 1, 4}).reshape({S, kv, G * Q, d});
    at::Tensor const scores = at::matmul(spread, of_sequences(kept.keys).transpose(-1, -2)).div_(std::sqrt(static_cast<double>(d)));
    at::Tensor const share = scores.view({S, kv, G, Q, at.keys}).masked_fill_(at.hidden, -INFINITY).softmax(-1);
    at::Tensor const out = at::matmul(share.view({S, kv, G * Q, at.keys}), of_sequences(kept.values));
    return out.view({S, kv, G, Q, d}).permute({0, 3, 1, 2, 4}).reshape({S * Q, config_.heads * d}).index_select(0, at.query).to(q.scalar_type());
  }

  transformer_config const& config_;
  compute_settings const& settings_;
  pack const& weights_;
  at::Tensor inverse_frequencies_;
  at::ScalarType wide_;
  std::vector<layer_cache> cache_;
  std::int64_t capacity_ = 0;
};

}  // namespace

std::unique_ptr<decoder> make_tensor_decoder(causal_lm const& model, pack const& weights) {
  return std::make_unique<tensor_decoder>(model, weights);
}

}  // namespace kedge::llm
