// SPDX-License-Identifier: Apache-2.0
#include "packed_layers.hpp"

#include <algorithm>
#include <cmath>

#include "model_tensors.hpp"
#include "rope.hpp"

namespace kedge::llm {
namespace {

std::size_t as_size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Bytes of all packed matrices, `word` each number.
std::size_t bytes_of(transformer_config const& c, std::size_t word) {
  auto const bytes = [](std::int64_t outputs, std::int64_t in, std::size_t of_number) {
    return packed_matrix::bytes(as_size(outputs), as_size(in), of_number);
  };
  std::int64_t const q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim,
                     half = static_cast<std::int64_t>(kernels().decode.panel_width / 2);
  auto const of_mlp = [&](std::int64_t inner) {
    std::int64_t const pairs = (inner + half - 1) / half * half;
    return bytes(c.gated ? 2 * pairs : inner, c.hidden, word) + bytes(c.hidden, inner, word);
  };
  std::size_t total = bytes(c.vocabulary, c.hidden, word);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    total += bytes(q + 2 * kv, c.hidden, word) + bytes(c.hidden, q, word);
    total += c.has_experts(i) ? bytes(c.experts.count, c.hidden, 4) + as_size(c.experts.count) * of_mlp(c.experts.intermediate)
                              : of_mlp(c.intermediate);
  }
  return total;
}

class packer {
 public:
  packer(causal_lm const& model, pack const& weights, std::byte* to, thread_pool& threads)
      : c_(model.config()), weights_(model_tensors::weights(model, weights)), to_(to), threads_(threads) {}

  packed_layer layer(std::int64_t i) {
    layer_tensors const t = weights_.layer(i);
    packed_layer p = norms_of(c_, t);
    auto const w = [&](layer_slot slot) { return weights_.merged(i, slot); };
    bool const fused_bias = c_.fused_qkv && t.q.bias.defined();
    p.qkv = c_.fused_qkv ? of({w(qkv_proj)}, {fused_bias ? at::cat({t.q.bias, t.k.bias, t.v.bias}) : at::Tensor()})
                         : of({w(q_proj), w(k_proj), w(v_proj)}, {t.q.bias, t.k.bias, t.v.bias});
    p.o = of({w(o_proj)}, {t.o.bias});
    if (c_.has_experts(i)) {
      p.router = of({t.experts.router.to(at::kFloat)}, {});
      for (expert_maps const& e : t.experts.experts) p.mlps.push_back(expert(e));
      return p;
    }
    packed_mlp mlp;
    if (!c_.gated) {
      mlp.up = of({w(up_proj)}, {t.up.bias});
    } else if (c_.fused_gate_up) {
      mlp.up = gated(w(gate_up_proj), t.gate.bias, t.up.bias);
    } else {
      mlp.up = gated(w(gate_proj), w(up_proj), t.gate.bias, t.up.bias);
    }
    mlp.down = of({w(down_proj)}, {t.down.bias});
    p.mlps.push_back(std::move(mlp));
    return p;
  }

  packed_matrix head() { return of({weights_.merged(weights_.at().head())}, {}); }
  [[nodiscard]] at::Tensor embedding() const { return weights_.merged(weights_.at().embedding()).contiguous(); }
  [[nodiscard]] at::Tensor final_norm() const { return norm_of(c_, weights_.final_norm()); }

 private:
  packed_matrix of(std::vector<at::Tensor> weights, std::vector<at::Tensor> const& biases) {
    for (at::Tensor& w : weights) w = w.contiguous();
    return packed_matrix::of(weights, biases, to_, threads_);
  }
  packed_mlp expert(expert_maps const& e) {
    at::Tensor const gate = merged(e.gate);
    return {e.up.weight.defined() ? gated(gate, merged(e.up), {}, {}) : gated(gate, {}, {}), of({merged(e.down)}, {})};
  }
  // Gate and up below each other in one matrix.
  packed_matrix gated(at::Tensor const& both, at::Tensor const& gate_bias, at::Tensor const& up_bias) {
    std::int64_t const inner = both.size(0) / 2;
    return gated(both.narrow(0, 0, inner), both.narrow(0, inner, inner), gate_bias, up_bias);
  }
  packed_matrix gated(at::Tensor const& gate, at::Tensor const& up, at::Tensor const& gate_bias, at::Tensor const& up_bias) {
    return packed_matrix::of_gate_and_up(gate.contiguous(), up.contiguous(), gate_bias, up_bias, to_, threads_);
  }

  transformer_config const& c_;
  model_tensors weights_;
  std::byte* to_;
  thread_pool& threads_;
};

}  // namespace

at::Tensor norm_of(transformer_config const& c, at::Tensor const& weight) {
  if (!weight.defined()) return weight;
  at::Tensor const wide = weight.to(at::kFloat).contiguous();
  return c.norm_offset == 0 ? wide : at::add(wide, c.norm_offset);
}

packed_layer norms_of(transformer_config const& c, layer_tensors const& t) {
  packed_layer p;
  p.input_norm = norm_of(c, t.input_norm);
  p.post_norm = norm_of(c, t.post_norm);
  p.q_norm = norm_of(c, t.q_norm);
  p.k_norm = norm_of(c, t.k_norm);
  p.attention_output_norm = norm_of(c, t.attention_output_norm);
  p.mlp_output_norm = norm_of(c, t.mlp_output_norm);
  return p;
}

packed_model::packed_model(causal_lm const& model, pack const& weights, thread_pool& threads) {
  if (model.adapted() && model.adapted()->stored)
    by_rows(model, weights);
  else
    packed(model, weights, threads);
}

void packed_model::packed(causal_lm const& model, pack const& weights, thread_pool& threads) {
  bytes_ = large_buffer(bytes_of(model.config(), model.settings().type == at::kBFloat16 ? 2 : 4));
  packer all(model, weights, bytes_.data(), threads);
  for (std::int64_t i = 0; i < model.config().layers; ++i) layers.push_back(all.layer(i));
  head = all.head();
  embedding = all.embedding();
  final_norm = all.final_norm();
}

angle_table::angle_table(rope_settings const& rope, std::int64_t head_dim)
    : factor_(static_cast<float>(rope.attention_factor)) {
  at::Tensor const frequencies = ops::inverse_frequencies(rope, head_dim);
  frequencies_.assign(frequencies.const_data_ptr<float>(), frequencies.const_data_ptr<float>() + frequencies.numel());
}

void angle_table::know(std::size_t last) {
  if (frequencies_.empty()) return;
  for (std::size_t p = cosine_.size() / half(); p <= last; ++p)
    for (float const frequency : frequencies_) {
      float const angle = static_cast<float>(p) * frequency;
      cosine_.push_back(factor_ * std::cos(angle));
      sine_.push_back(factor_ * std::sin(angle));
    }
}

}  // namespace kedge::llm
