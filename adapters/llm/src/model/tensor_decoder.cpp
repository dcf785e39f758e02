// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "decoder.hpp"
#include "model_tensors.hpp"
#include "page_attention.hpp"
#include "rope.hpp"

namespace kedge::llm {
namespace {

class tensor_decoder final : public decoder {
 public:
  tensor_decoder(causal_lm const& model, pack const& weights)
      : model_(model),
        config_(model.config()),
        settings_(model.settings()),
        weights_(weights),
        frequencies_(ops::inverse_frequencies(config_.rope, config_.head_dim).to(settings_.device)),
        local_frequencies_(ops::inverse_frequencies(config_.local_rope, config_.head_dim).to(settings_.device)),
        pages_(static_cast<std::size_t>(config_.layers)) {
    model_tensors const w = model_tensors::weights(model_, weights_);
    for (std::int64_t i = 0; i < config_.layers; ++i) {
      at::Tensor const sinks = w.layer(i).sinks;
      sinks_.push_back(sinks.defined() ? ops::wide(sinks) : sinks);
    }
    reserve(1);
  }

  void reserve(std::int32_t pages) override {
    if (pages <= capacity_) return;
    std::int64_t const larger = std::max<std::int64_t>(pages, capacity_ * 3 / 2);
    for (layer_pages& layer : pages_)
      for (at::Tensor* const kept : {&layer.keys, &layer.values}) {
        // Zeros, since hidden keys get weight 0, and 0 · NaN is NaN.
        at::Tensor const grown = at::zeros({larger, page_tokens, config_.kv_heads, config_.head_dim}, of_pages());
        if (kept->defined()) grown.narrow(0, 0, capacity_).copy_(*kept);
        *kept = grown;
      }
    capacity_ = larger;
  }

  void copy_page(std::int32_t from, std::int32_t to) override {
    std::vector<at::Tensor> copies, originals;
    for (layer_pages const& layer : pages_)
      for (at::Tensor const& kept : {layer.keys, layer.values}) {
        copies.push_back(kept.select(0, to));
        originals.push_back(kept.select(0, from));
      }
    at::_foreach_copy_(copies, originals);
  }

  at::Tensor logits(step_batch const& batch) override {
    at::NoGradGuard const no_grad;
    model_tensors const w = model_tensors::weights(model_, weights_);
    number_lists lists;
    at::Tensor tokens, rows;
    lists.add(batch.tokens, tokens);
    lists.add(batch.rows, rows);
    page_attention attention(config_, batch, of_pages(), lists);
    lists.send(settings_.device);
    ops::rotations const rotations(config_, attention.positions(), frequencies_, local_frequencies_, settings_.type);
    ops::residual_stream stream{embed(config_, w.embedding(), tokens), {}, 1};
    for (std::int64_t i = 0; i < config_.layers; ++i) {
      layer_settings const of_layer = config_.layer(i);
      layer_pages const& kept = pages_[static_cast<std::size_t>(i)];
      layer_tape scratch;
      auto const attend = [&](at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
        attention.keep(kept, k, v);
        return attention.attend(q, kept, of_layer.window, sinks_[static_cast<std::size_t>(i)]);
      };
      layer_forward(config_, w.layer(i), stream, rotations.of(of_layer), attend, scratch);
    }
    ops::residual_stream of_rows = stream.rows(rows);
    ops::rms_norm final_norm;
    at::Tensor const last = ops::normalised(of_rows, {config_.rms_norm_eps, config_.norm_offset, config_.norm}, w.final_norm(), w.final_norm_bias(),
                                            settings_.type, final_norm);
    at::Tensor scores = apply_wide(w.head(), last).contiguous();
    ops::soft_cap_(scores, config_.logit_soft_cap);
    return config_.logit_scale == 1 ? scores : scores.mul_(config_.logit_scale);
  }

 private:
  at::TensorOptions of_pages() const { return weights_.front().options().dtype(settings_.type); }

  causal_lm const& model_;
  transformer_config const& config_;
  compute_settings const& settings_;
  pack const& weights_;
  at::Tensor frequencies_, local_frequencies_;
  std::vector<layer_pages> pages_;
  std::vector<at::Tensor> sinks_;  // at least fp32
  std::int64_t capacity_ = 0;
};

}  // namespace

std::unique_ptr<decoder> make_tensor_decoder(causal_lm const& model, pack const& weights) {
  return std::make_unique<tensor_decoder>(model, weights);
}

}  // namespace kedge::llm
