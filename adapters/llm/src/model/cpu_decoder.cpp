// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../base/thread_pool.hpp"
#include "../kernels/kernels.hpp"
#include "decoder.hpp"
#include "model_tensors.hpp"
#include "packed_weights.hpp"
#include "rope.hpp"

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

struct packed_layer {
  at::Tensor input_norm, post_norm;  // fp32
  packed_matrix qkv, o, gate_up, down;
};

// Activations of a step, kept from step to step.
struct step_scratch {
  std::vector<float> x, h, qkv, attended, inner;
  at::Tensor logits;
};

// Numbers are fp32 everywhere but in weights and pages; where the type is bf16, they are rounded where the type rounds.
// Each number is computed in an order that depends on its own row alone, so that the batch changes nothing, not even by rounding.
class cpu_decoder final : public decoder {
 public:
  cpu_decoder(causal_lm const& model, pack const& weights, thread_pool& threads)
      : c_(model.config()),
        threads_(threads),
        bf16_(model.settings().type == at::kBFloat16),
        word_(bf16_ ? 2 : 4),
        heads_(as_size(c_.heads)),
        kv_heads_(as_size(c_.kv_heads)),
        d_(as_size(c_.head_dim)),
        hidden_(as_size(c_.hidden)),
        page_block_(2 * as_size(page_tokens) * d_ * word_),
        parameters_(as_size(parameter_count(c_))) {
    at::Tensor const frequencies = ops::inverse_frequencies(c_.rope, c_.head_dim);
    frequencies_.assign(frequencies.const_data_ptr<float>(), frequencies.const_data_ptr<float>() + frequencies.numel());
    pack_all(model_tensors::weights(model, weights));
  }

  void reserve(std::int32_t pages) override {
    std::size_t const bytes = as_size(c_.layers) * kv_heads_ * page_block_;
    if (as_size(pages) <= pages_.size()) return;
    std::size_t const more = std::max<std::size_t>(as_size(pages) - pages_.size(), 32);
    slabs_.emplace_back(more * bytes);
    for (std::size_t i = 0; i < more; ++i) pages_.push_back(slabs_.back().data() + i * bytes);
  }

  void copy_page(std::int32_t from, std::int32_t to) override {
    std::memcpy(pages_[as_size(to)], pages_[as_size(from)], as_size(c_.layers) * kv_heads_ * page_block_);
  }

  at::Tensor logits(step_batch const& batch) override {
    std::size_t const T = batch.size(), R = batch.rows.size(), V = as_size(c_.vocabulary);
    constexpr std::size_t apart = 32;  // keeps rows of logits out of one another's cache sets
    auto const grow = [](std::vector<float>& v, std::size_t n) {
      if (v.size() < n) v.resize(n);
    };
    grow(s_.x, T * hidden_);
    grow(s_.h, std::max(T, R) * hidden_);
    grow(s_.qkv, T * (heads_ + 2 * kv_heads_) * d_);
    grow(s_.attended, T * heads_ * d_);
    grow(s_.inner, T * as_size(c_.intermediate));
    if (!s_.logits.defined() || s_.logits.size(0) < static_cast<std::int64_t>(R))
      s_.logits = at::empty({static_cast<std::int64_t>(R), static_cast<std::int64_t>(V + apart)}, at::kFloat);
    know_angles(*std::max_element(batch.positions.begin(), batch.positions.end()));
    float* const out = s_.logits.mutable_data_ptr<float>();
    threads_.walk(T * parameters_, [&] {
      embed(batch);
      for (std::size_t i = 0; i < layers_.size(); ++i) layer(batch, i);
      threads_.each(R, [&](std::size_t r) { normalise(&s_.x[as_size(batch.rows[r]) * hidden_], final_norm_, &s_.h[r * hidden_]); });
      multiply(head_, s_.h.data(), R, out, V + apart, panel_end::store);
    });
    return s_.logits.narrow(0, 0, static_cast<std::int64_t>(R)).narrow(1, 0, c_.vocabulary);
  }

 private:
  void pack_all(model_tensors const& weights) {
    auto const bytes = [&](std::int64_t outputs, std::int64_t in) { return packed_matrix::bytes(as_size(outputs), as_size(in), word_); };
    std::int64_t const q = c_.heads * c_.head_dim, kv = c_.kv_heads * c_.head_dim, half = static_cast<std::int64_t>(kernels().decode.panel_width / 2),
                       inner = (c_.intermediate + half - 1) / half * half;
    std::size_t const a_layer = bytes(q + 2 * kv, c_.hidden) + bytes(c_.hidden, q) + bytes(2 * inner, c_.hidden) + bytes(c_.hidden, inner);
    packed_ = large_buffer(as_size(c_.layers) * a_layer + bytes(c_.vocabulary, c_.hidden));
    std::byte* to = packed_.data();
    for (std::int64_t i = 0; i < c_.layers; ++i) {
      auto const w = [&](layer_slot slot) { return weights.merged(i, slot).contiguous(); };
      packed_layer& layer = layers_.emplace_back();
      layer.input_norm = w(input_norm).to(at::kFloat);
      layer.post_norm = w(post_norm).to(at::kFloat);
      layer.qkv = packed_matrix::of({w(q_proj), w(k_proj), w(v_proj)}, to, threads_);
      layer.o = packed_matrix::of({w(o_proj)}, to, threads_);
      layer.gate_up = packed_matrix::of_gate_and_up(w(gate_proj), w(up_proj), to, threads_);
      layer.down = packed_matrix::of({w(down_proj)}, to, threads_);
    }
    embedding_ = weights.embedding().contiguous();
    final_norm_ = weights.final_norm().to(at::kFloat).contiguous();
    head_ = packed_matrix::of({weights.head().contiguous()}, to, threads_);
  }

  void know_angles(std::int32_t last) {
    std::size_t const half = d_ / 2;
    for (std::size_t p = cosine_.size() / half; p <= as_size(last); ++p)
      for (std::size_t i = 0; i < half; ++i) {
        float const angle = static_cast<float>(p) * frequencies_[i];
        cosine_.push_back(std::cos(angle));
        sine_.push_back(std::sin(angle));
      }
  }

  // What follows runs on every thread of the pool.

  void embed(step_batch const& batch) {
    threads_.each(batch.size(), [&](std::size_t t) {
      std::size_t const first = as_size(batch.tokens[t]) * hidden_;
      float* const x = &s_.x[t * hidden_];
      if (bf16_)
        std::copy_n(embedding_.const_data_ptr<at::BFloat16>() + first, hidden_, x);
      else
        std::copy_n(embedding_.const_data_ptr<float>() + first, hidden_, x);
    });
  }

  void normalise(float const* x, at::Tensor const& weight, float* out) {
    kernels().norms.normalise({x, weight.const_data_ptr<float>(), out, hidden_, static_cast<float>(c_.rms_norm_eps), bf16_});
  }

  void multiply(packed_matrix const& m, float const* x, std::size_t rows, float* y, std::size_t y_stride, panel_end end) {
    thread_local std::vector<float> wide;
    std::size_t const panel = m.in() * kernels().decode.panel_width;
    if (wide.size() < panel) wide.resize(panel);
    threads_.each(m.panels(), [&](std::size_t p) {
      panel_product product = m.product(p, x, rows, y, y_stride, end);
      product.wide = wide.data();
      kernels().decode.multiply(product);
    });
  }

  void layer(step_batch const& batch, std::size_t i) {
    packed_layer const& w = layers_[i];
    std::size_t const T = batch.size(), width = (heads_ + 2 * kv_heads_) * d_, inner = as_size(c_.intermediate);
    threads_.each(T, [&](std::size_t t) { normalise(&s_.x[t * hidden_], w.input_norm, &s_.h[t * hidden_]); });
    multiply(w.qkv, s_.h.data(), T, s_.qkv.data(), width, panel_end::store);
    threads_.each(T, [&](std::size_t t) { keep(batch, i, t, &s_.qkv[t * width]); });
    threads_.each(T * kv_heads_, [&](std::size_t j) { attend(batch, i, j / kv_heads_, j % kv_heads_); });
    multiply(w.o, s_.attended.data(), T, s_.x.data(), hidden_, panel_end::add);
    threads_.each(T, [&](std::size_t t) { normalise(&s_.x[t * hidden_], w.post_norm, &s_.h[t * hidden_]); });
    multiply(w.gate_up, s_.h.data(), T, s_.inner.data(), inner, panel_end::swiglu);
    multiply(w.down, s_.inner.data(), T, s_.x.data(), hidden_, panel_end::add);
  }

  // Rotates queries and keys of token t, and puts its keys and values into its page.
  void keep(step_batch const& batch, std::size_t layer, std::size_t t, float* qkv) {
    std::size_t const position = as_size(batch.positions[t]), offset = position % as_size(page_tokens);
    for (std::size_t h = 0; h < heads_ + kv_heads_; ++h) rotate(qkv + h * d_, position);
    std::byte* const page = pages_[as_size(batch.tables[as_size(batch.sequence[t])][position / as_size(page_tokens)])];
    for (std::size_t h = 0; h < kv_heads_; ++h) {
      std::byte* const block = page + (layer * kv_heads_ + h) * page_block_;
      float const *k = qkv + (heads_ + h) * d_, *v = qkv + (heads_ + kv_heads_ + h) * d_;
      if (bf16_)
        store(reinterpret_cast<at::BFloat16*>(block), offset, k, v);
      else
        store(reinterpret_cast<float*>(block), offset, k, v);
    }
  }

  template <class Element>
  void store(Element* block, std::size_t offset, float const* k, float const* v) const {
    constexpr auto width = static_cast<std::size_t>(page_tokens);
    for (std::size_t i = 0; i < d_; ++i) {
      block[i * width + offset] = k[i];
      block[d_ * width + offset * d_ + i] = v[i];
    }
  }

  void rotate(float* x, std::size_t position) const {
    std::size_t const half = d_ / 2;
    float const *cosine = &cosine_[position * half], *sine = &sine_[position * half];
    for (std::size_t i = 0; i < half; ++i) {
      float const left = x[i], right = x[half + i];
      x[i] = rounded(left * cosine[i] - right * sine[i]);
      x[half + i] = rounded(right * cosine[i] + left * sine[i]);
    }
  }

  [[nodiscard]] float rounded(float x) const { return bf16_ ? static_cast<float>(at::BFloat16(x)) : x; }

  void attend(step_batch const& batch, std::size_t layer, std::size_t t, std::size_t kv_head) {
    thread_local std::vector<float> scores;
    thread_local std::vector<void const*> pages;
    auto const table = batch.tables[as_size(batch.sequence[t])];
    std::size_t const keys = as_size(batch.positions[t]) + 1, count = (keys + page_tokens - 1) / page_tokens, group = heads_ / kv_heads_;
    pages.clear();
    for (std::size_t p = 0; p < count; ++p) pages.push_back(pages_[as_size(table[p])] + (layer * kv_heads_ + kv_head) * page_block_);
    if (scores.size() < group * count * page_tokens) scores.resize(group * count * page_tokens);
    kernels().decode.attend({.q = &s_.qkv[t * (heads_ + 2 * kv_heads_) * d_ + kv_head * group * d_],
                     .heads = group,
                     .d = d_,
                     .keys = keys,
                     .pages = pages.data(),
                     .scores = scores.data(),
                     .out = &s_.attended[(t * heads_ + kv_head * group) * d_],
                     .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d_))),
                     .bf16 = bf16_});
  }

  transformer_config const& c_;
  thread_pool& threads_;
  bool bf16_;
  std::size_t word_, heads_, kv_heads_, d_, hidden_;
  std::size_t page_block_;  // bytes of one layer and key-value head in a page
  std::size_t parameters_;
  std::vector<float> frequencies_, cosine_, sine_;
  large_buffer packed_;
  std::vector<packed_layer> layers_;
  packed_matrix head_;
  at::Tensor embedding_, final_norm_;
  std::vector<large_buffer> slabs_;
  std::vector<std::byte*> pages_;
  step_scratch s_;
};

// What steps of generation are written for: the layer of Llama. Everything else goes by the tensor operations.
bool has_llama_layers(transformer_config const& c) {
  auto const usual = [](layer_settings const& layer) { return layer.window == 0 && layer.rope == rotary::global; };
  return c.head_dim % 16 == 0 && c.act == activation::silu && c.gated && c.experts.count == 0 && c.norms == layer_norms() && c.norm == norm_kind::rms && !c.parallel && c.norm_offset == 0 &&
         c.embedding_scale == 1 && c.residual_scale == 1 && c.logit_scale == 1 && c.attention_scale == 0 && c.query_scalar == 0 &&
         c.attention_soft_cap == 0 && c.logit_soft_cap == 0 && !c.qkv_bias && !c.o_bias && !c.mlp_bias &&
         c.qk_norms == query_key_norms::none && !c.fused_qkv && !c.fused_gate_up && c.rope.share == 1 && !c.rope.interleaved &&
         c.rope.query_growth == 0 && c.rope.attention_factor == 1 && std::all_of(c.attention.begin(), c.attention.end(), usual);
}

}  // namespace

std::unique_ptr<decoder> make_cpu_decoder(causal_lm const& model, pack const& weights, thread_pool& threads) {
  at::ScalarType const type = model.settings().type;
  if (!model.settings().device.is_cpu() || (type != at::kFloat && type != at::kBFloat16) || !has_llama_layers(model.config()))
    return nullptr;
  return std::make_unique<cpu_decoder>(model, weights, threads);
}

}  // namespace kedge::llm
