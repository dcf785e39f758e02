// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "../base/thread_pool.hpp"
#include "../kernels/kernels.hpp"
#include "decoder.hpp"
#include "expert_rows.hpp"
#include "host_ops.hpp"
#include "key_pages.hpp"
#include "model_tensors.hpp"
#include "packed_layers.hpp"

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Activations of a step, kept from step to step.
struct step_scratch {
  std::vector<float> x, h, y, qkv, attended, inner, both, low, router, expert_x, expert_y;
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
        heads_(as_size(c_.heads)),
        kv_heads_(as_size(c_.kv_heads)),
        d_(as_size(c_.head_dim)),
        hidden_(as_size(c_.hidden)),
        parameters_(as_size(parameter_count(c_))),
        packed_(model, weights, threads),
        angles_(c_.rope, c_.head_dim),
        local_angles_(c_.local_rope, c_.head_dim),
        routes_(c_.experts),
        pages_(as_size(c_.layers), kv_heads_, d_, bf16_) {}

  void reserve(std::int32_t pages) override { pages_.reserve(as_size(pages)); }

  void copy_page(std::int32_t from, std::int32_t to) override { pages_.copy(from, to); }

  at::Tensor logits(step_batch const& batch) override {
    std::size_t const T = batch.size(), R = batch.rows.size(), V = as_size(c_.vocabulary);
    constexpr std::size_t apart = 32;  // keeps rows of logits out of one another's cache sets
    make_room(T, R);
    if (!s_.logits.defined() || s_.logits.size(0) < static_cast<std::int64_t>(R))
      s_.logits = at::empty({static_cast<std::int64_t>(R), static_cast<std::int64_t>(V + apart)}, at::kFloat);
    std::size_t const last = as_size(*std::max_element(batch.positions.begin(), batch.positions.end()));
    angles_.know(last);
    local_angles_.know(last);
    float* const out = s_.logits.mutable_data_ptr<float>();
    threads_.walk(T * parameters_, [&] {
      threads_.each(T, [&](std::size_t t) { embed(batch.tokens[t], &s_.x[t * hidden_]); });
      for (std::size_t i = 0; i < packed_.layers.size(); ++i) layer(batch, i);
      threads_.each(R, [&](std::size_t r) {
        normalise(&s_.x[as_size(batch.rows[r]) * hidden_], packed_.final_norm, &s_.h[r * hidden_]);
      });
      multiply(packed_.head, s_.h.data(), R, out, V + apart);
      if (c_.logit_soft_cap != 0 || c_.logit_scale != 1)
        threads_.each(R, [&](std::size_t r) { finish_logits(out + r * (V + apart), V); });
    });
    return s_.logits.narrow(0, 0, static_cast<std::int64_t>(R)).narrow(1, 0, c_.vocabulary);
  }

 private:
  void make_room(std::size_t T, std::size_t R) {
    auto const grow = [](std::vector<float>& v, std::size_t n) {
      if (v.size() < n) v.resize(n);
    };
    std::size_t const a_token = c_.experts.count > 0 ? routes_.each() : 1;
    grow(s_.x, T * hidden_);
    grow(s_.h, std::max(T, R) * hidden_);
    grow(s_.y, T * hidden_);
    grow(s_.qkv, T * (heads_ + 2 * kv_heads_) * d_);
    grow(s_.attended, T * heads_ * d_);
    grow(s_.low, std::max(T, R) * packed_.most_rank);
    if (packed_.stays_quantised) grow(s_.both, T * 2 * as_size(c_.intermediate));
    grow(s_.inner, T * std::max(as_size(c_.intermediate), a_token * as_size(c_.experts.intermediate)));
    if (c_.experts.count == 0) return;
    routes_.resize(T);
    grow(s_.router, T * as_size(c_.experts.count));
    grow(s_.expert_x, T * a_token * hidden_);
    grow(s_.expert_y, T * a_token * hidden_);
  }

  // What follows runs on every thread of the pool.

  void embed(std::int32_t token, float* x) const {
    std::size_t const first = as_size(token) * hidden_;
    if (packed_.stored_embedding.defined()) {
      kernels().quantised.dequantise(packed_.stored_embedding.rows(), as_size(token), 0, hidden_, x);
      for (std::size_t i = 0; i < hidden_; ++i) x[i] = rounded(x[i]);
    } else if (bf16_)
      std::copy_n(packed_.embedding.const_data_ptr<at::BFloat16>() + first, hidden_, x);
    else
      std::copy_n(packed_.embedding.const_data_ptr<float>() + first, hidden_, x);
    if (c_.embedding_scale == 1) return;
    float const scale = rounded(static_cast<float>(c_.embedding_scale));
    for (std::size_t i = 0; i < hidden_; ++i) x[i] = rounded(scale * x[i]);
  }

  void finish_logits(float* row, std::size_t n) const {
    if (c_.logit_soft_cap != 0) kernels().gates.soft_cap(row, n, static_cast<float>(c_.logit_soft_cap));
    if (c_.logit_scale == 1) return;
    for (std::size_t i = 0; i < n; ++i) row[i] *= static_cast<float>(c_.logit_scale);
  }

  [[nodiscard]] float rounded(float x) const { return bf16_ ? static_cast<float>(at::BFloat16(x)) : x; }

  void normalise(float const* x, at::Tensor const& weight, float* out, norm_kind kind) const {
    kernels().norms.normalise({.x = x,
                               .weight = weight.const_data_ptr<float>(),
                               .out = out,
                               .n = as_size(weight.numel()),
                               .eps = static_cast<float>(c_.rms_norm_eps),
                               .bf16 = bf16_,
                               .centred = kind == norm_kind::layer,
                               .once = c_.norm_offset != 0});
  }
  void normalise(float const* x, at::Tensor const& weight, float* out) const { normalise(x, weight, out, c_.norm); }

  // What attention or MLP reads of the residual stream: normalised where the family has a norm there.
  float const* read(std::size_t T, at::Tensor const& norm) {
    if (!norm.defined()) return s_.x.data();
    threads_.each(T, [&](std::size_t t) { normalise(&s_.x[t * hidden_], norm, &s_.h[t * hidden_]); });
    return s_.h.data();
  }

  static void multiply_panel(packed_matrix const& m, std::size_t panel, float const* x, std::size_t rows, float* y,
                             std::size_t y_stride, panel_end end, gate_function function) {
    thread_local std::vector<float> wide;
    std::size_t const numbers = m.in() * kernels().decode.panel_width;
    if (wide.size() < numbers) wide.resize(numbers);
    panel_product product = m.product(panel, x, rows, y, y_stride, end);
    product.wide = wide.data();
    if (m.by_rows()) {
      m.decode(panel, wide.data());
      product.panel = wide.data();
      product.decoded = true;
    }
    product.function = function;
    kernels().decode.multiply(product);
  }

  void multiply(packed_matrix const& m, float const* x, std::size_t rows, float* y, std::size_t y_stride, panel_end end) {
    threads_.each(m.panels(), [&](std::size_t p) { multiply_panel(m, p, x, rows, y, y_stride, end, function_); });
  }

  // y = map(x), with what an adapter adds.
  void multiply(packed_map const& m, float const* x, std::size_t rows, float* y, std::size_t y_stride) {
    multiply(m.weight, x, rows, y, y_stride, panel_end::store);
    if (!m.adapted()) return;
    multiply(m.a, x, rows, s_.low.data(), m.a.outputs(), panel_end::store);
    multiply(m.b, s_.low.data(), rows, y, y_stride, panel_end::add);
    if (m.factors.empty()) return;
    threads_.each(rows, [&](std::size_t r) {
      for (std::size_t i = 0; i < m.factors.size(); ++i) y[r * y_stride + i] = m.factors[i] * y[r * y_stride + i] + (m.bias.empty() ? 0 : m.bias[i]);
    });
  }

  // What the MLP's last map reads.
  void multiply_inner(packed_map const& m, float const* x, std::size_t T, std::size_t inner) {
    if (!m.weight.by_rows()) return multiply(m.weight, x, T, s_.inner.data(), inner, mlp_end());
    std::size_t const width = m.weight.outputs();
    multiply(m, x, T, s_.both.data(), width);
    threads_.each(T, [&](std::size_t t) {
      float const* const both = &s_.both[t * width];
      float* const to = &s_.inner[t * inner];
      if (c_.gated)
        kernels().gates.gated(function_, both, both + inner, inner, to);
      else
        kernels().gates.activated(function_, both, inner, to);
    });
  }

  // The residual stream and what the map makes of x, normalised or scaled first where the family does so.
  void add_product(packed_map const& m, float const* x, std::size_t T, at::Tensor const& norm) {
    if (!norm.defined() && c_.residual_scale == 1 && !m.adapted()) return multiply(m.weight, x, T, s_.x.data(), hidden_, panel_end::add);
    multiply(m, x, T, s_.y.data(), hidden_);
    threads_.each(T, [&](std::size_t t) { add_row(t, norm); });
  }

  void add_row(std::size_t t, at::Tensor const& norm) {
    float *const x = &s_.x[t * hidden_], *const y = &s_.y[t * hidden_];
    if (norm.defined()) normalise(y, norm, y);
    for (std::size_t i = 0; i < hidden_; ++i) x[i] += static_cast<float>(c_.residual_scale) * y[i];
  }

  void layer(step_batch const& batch, std::size_t i) {
    packed_layer const& w = packed_.layers[i];
    std::size_t const T = batch.size(), width = (heads_ + 2 * kv_heads_) * d_, inner = as_size(c_.intermediate);
    layer_settings const kind = c_.layer(static_cast<std::int64_t>(i));
    float const* h = read(T, w.input_norm);
    multiply(w.qkv, h, T, s_.qkv.data(), width);
    threads_.each(T, [&](std::size_t t) { keep(batch, i, t, &s_.qkv[t * width]); });
    threads_.each(T * kv_heads_, [&](std::size_t j) { attend(batch, i, j / kv_heads_, j % kv_heads_, as_size(kind.window)); });
    add_product(w.o, s_.attended.data(), T, w.attention_output_norm);
    if (!c_.parallel) h = read(T, w.post_norm);
    if (c_.has_experts(static_cast<std::int64_t>(i))) return experts(w, h, T);
    multiply_inner(w.mlps.front().up, h, T, inner);
    add_product(w.mlps.front().down, s_.inner.data(), T, w.mlp_output_norm);
  }

  [[nodiscard]] panel_end mlp_end() const { return c_.gated ? panel_end::gate : panel_end::activate; }

  // Each expert sees the rows that chose it; a token adds them up in the order of experts.
  void experts(packed_layer const& w, float const* h, std::size_t T) {
    std::size_t const E = w.mlps.size(), inner = as_size(c_.experts.intermediate);
    multiply(w.router, h, T, s_.router.data(), E, panel_end::store);
    threads_.each(T, [&](std::size_t t) { routes_.choose(t, &s_.router[t * E]); });
    threads_.each(1, [&](std::size_t) { routes_.sort(); });
    threads_.each(routes_.count(), [&](std::size_t row) {
      std::copy_n(h + routes_.token(row) * hidden_, hidden_, &s_.expert_x[row * hidden_]);
    });
    auto const each_expert = [&](packed_map packed_mlp::* map, float const* x, std::size_t in, float* y, std::size_t out,
                                 panel_end end) {
      std::size_t const panels = (w.mlps.front().*map).weight.panels();
      threads_.each(E * panels, [&](std::size_t j) {
        std::size_t const e = j / panels, begin = routes_.begin(e), rows = routes_.begin(e + 1) - begin;
        if (rows > 0) multiply_panel((w.mlps[e].*map).weight, j % panels, x + begin * in, rows, y + begin * out, out, end, function_);
      });
    };
    each_expert(&packed_mlp::up, s_.expert_x.data(), hidden_, s_.inner.data(), inner, mlp_end());
    each_expert(&packed_mlp::down, s_.inner.data(), inner, s_.expert_y.data(), hidden_, panel_end::store);
    threads_.each(T, [&](std::size_t t) {
      float* const y = &s_.y[t * hidden_];
      std::fill_n(y, hidden_, 0.0F);
      for (std::size_t j = 0; j < routes_.each(); ++j) {
        auto const [row, weight] = routes_.part_of(t, j);
        for (std::size_t i = 0; i < hidden_; ++i) y[i] += weight * s_.expert_y[row * hidden_ + i];
      }
      add_row(t, w.mlp_output_norm);
    });
  }

  // Normalises and turns queries and keys of token t, and puts its keys and values into its page.
  void keep(step_batch const& batch, std::size_t layer, std::size_t t, float* qkv) {
    std::size_t const position = as_size(batch.positions[t]), offset = position % page_positions;
    packed_layer const& w = packed_.layers[layer];
    norm_heads(qkv, heads_ * d_, w.q_norm);
    norm_heads(qkv + heads_ * d_, kv_heads_ * d_, w.k_norm);
    turn(qkv, position, c_.layer(static_cast<std::int64_t>(layer)).rope);
    std::int32_t const page = batch.tables[as_size(batch.sequence[t])][position / page_positions];
    for (std::size_t h = 0; h < kv_heads_; ++h)
      pages_.keep(pages_.block(page, layer, h), offset, qkv + (heads_ + h) * d_, qkv + (heads_ + kv_heads_ + h) * d_);
  }

  // Over as many numbers as there are weights: those of a head, or of all.
  void norm_heads(float* x, std::size_t n, at::Tensor const& weight) const {
    if (!weight.defined()) return;
    for (std::size_t i = 0; i < n; i += as_size(weight.numel())) normalise(x + i, weight, x + i, norm_kind::rms);
  }

  void turn(float* qkv, std::size_t position, rotary rope) const {
    if (rope == rotary::none) return;
    bool const global = rope == rotary::global;
    angle_table const& angles = global ? angles_ : local_angles_;
    kernels().norms.rotate({.x = qkv,
                            .cosine = angles.cosine(position),
                            .sine = angles.sine(position),
                            .rows = 1,
                            .heads = heads_ + kv_heads_,
                            .d = d_,
                            .half = angles.half(),
                            .direction = 1,
                            .interleaved = global && c_.rope.interleaved,
                            .bf16 = bf16_});
    if (!global || c_.rope.query_growth == 0) return;
    auto const passed = std::floor(static_cast<float>(position) / static_cast<float>(c_.rope.original_length));
    float const growth = 1 + static_cast<float>(c_.rope.query_growth) * std::log1p(passed);
    for (std::size_t i = 0; i < heads_ * d_; ++i) qkv[i] = rounded(growth * qkv[i]);
  }

  // Heads as pages hold them: themselves, or copies with zeros behind.
  float const* filled(float const* heads, std::size_t count) const {
    std::size_t const padded = pages_.padded();
    if (d_ == padded) return heads;
    thread_local std::vector<float> copies;
    copies.assign(count * padded, 0);
    for (std::size_t h = 0; h < count; ++h) std::copy_n(heads + h * d_, d_, &copies[h * padded]);
    return copies.data();
  }

  void attend(step_batch const& batch, std::size_t layer, std::size_t t, std::size_t kv_head, std::size_t window) {
    thread_local std::vector<float> scores, result;
    thread_local std::vector<void const*> pages;
    auto const table = batch.tables[as_size(batch.sequence[t])];
    std::size_t const end = as_size(batch.positions[t]) + 1, first = window > 0 && end > window ? end - window : 0,
                      group = heads_ / kv_heads_, padded = pages_.padded();
    std::size_t const first_page = first / page_positions, count = (end + page_positions - 1) / page_positions - first_page;
    pages.clear();
    for (std::size_t p = 0; p < count; ++p) pages.push_back(pages_.block(table[first_page + p], layer, kv_head));
    if (scores.size() < group * count * page_positions) scores.resize(group * count * page_positions);
    result.resize(group * padded);
    float* const out = &s_.attended[(t * heads_ + kv_head * group) * d_];
    kernels().decode.attend({.q = filled(&s_.qkv[t * (heads_ + 2 * kv_heads_) * d_ + kv_head * group * d_], group),
                             .heads = group,
                             .d = padded,
                             .keys = end - first_page * page_positions,
                             .pages = pages.data(),
                             .scores = scores.data(),
                             .out = d_ == padded ? out : result.data(),
                             .scale = static_cast<float>(c_.score_scale()),
                             .bf16 = bf16_,
                             .first = first % page_positions,
                             .cap = static_cast<float>(c_.attention_soft_cap)});
    if (d_ == padded) return;
    for (std::size_t h = 0; h < group; ++h) std::copy_n(&result[h * padded], d_, out + h * d_);
  }

  transformer_config const& c_;
  thread_pool& threads_;
  bool bf16_;
  std::size_t heads_, kv_heads_, d_, hidden_, parameters_;
  packed_model packed_;
  angle_table angles_, local_angles_;
  gate_function function_ = host_ops::function_of(c_.act);
  expert_rows routes_;
  key_pages pages_;
  step_scratch s_;
};

// What steps of generation leave to the tensor operations: attention sinks, norms with biases, experts that are clamped or have biases,
// experts on a quantised base, and adapters whose B has a bias.
bool goes_by_operations(causal_lm const& model) {
  transformer_config const& c = model.config();
  bool const stored_experts = c.experts.count > 0 && model.adapted() && model.adapted()->stored;
  return c.sinks || c.norm_bias || stored_experts || c.experts.biases || c.experts.limit > 0 || (model.adapted() && model.adapted()->layout.settings().bias_of_b);
}

}  // namespace

std::unique_ptr<decoder> make_cpu_decoder(causal_lm const& model, pack const& weights, thread_pool& threads) {
  at::ScalarType const type = model.settings().type;
  if (!model.settings().device.is_cpu() || (type != at::kFloat && type != at::kBFloat16) || goes_by_operations(model)) return nullptr;
  return std::make_unique<cpu_decoder>(model, weights, threads);
}

}  // namespace kedge::llm
