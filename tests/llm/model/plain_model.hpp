// SPDX-License-Identifier: Apache-2.0
#pragma once

// The model as a textbook writes it, with autograd, one unshared sequence at a time: the oracle of the packed one.

#include <cmath>
#include <optional>
#include <random>

#include <kedge/llm/model/causal_lm.hpp>

namespace plain {

using kedge::llm::pack;

/// Zeros of the tensors' shapes, in their own type or another.
inline pack zeros_like(pack const& theta, std::optional<at::ScalarType> type = {}) {
  pack zeros;
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros(t.sizes(), type.value_or(t.scalar_type())));
  return zeros;
}

inline at::Tensor norm(at::Tensor const& x, at::Tensor const& w, double eps) {
  return x * at::rsqrt(x.pow(2).mean(-1, true) + eps) * w;
}

inline at::Tensor rotate(at::Tensor const& x, at::Tensor const& cosine, at::Tensor const& sine) {  // [h, T, d]
  auto const half = x.size(-1) / 2;
  at::Tensor const turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return x * cosine + turned * sine;
}

/// Log-probability of the completion after the prompt.
inline at::Tensor log_prob(kedge::llm::transformer_config const& c, pack const& w, std::vector<std::int32_t> const& prompt,
                           std::vector<std::int32_t> const& completion) {
  std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), completion.begin(), completion.end());
  auto const T = static_cast<std::int64_t>(ids.size());
  at::Tensor const tokens = at::tensor(ids, at::kLong);
  at::Tensor const inv = at::reciprocal(at::pow(c.rope.theta, at::arange(0, c.head_dim, 2, at::kFloat) / static_cast<double>(c.head_dim)));
  at::Tensor const angle = at::outer(at::arange(T, at::kFloat), inv);
  at::Tensor const both = at::cat({angle, angle}, -1);
  at::Tensor const cosine = both.cos().to(w[0].scalar_type()), sine = both.sin().to(w[0].scalar_type());
  at::Tensor const hidden_future = at::ones({T, T}, at::kBool).triu(1);
  at::Tensor x = w[0].index_select(0, tokens);
  std::size_t at_slot = 1;
  for (std::int64_t layer = 0; layer < c.layers; ++layer, at_slot += 9) {
    at::Tensor h = norm(x, w[at_slot], c.rms_norm_eps);
    auto heads = [&](std::size_t slot, std::int64_t n) { return h.matmul(w[slot].t()).view({T, n, c.head_dim}).transpose(0, 1); };
    at::Tensor const q = rotate(heads(at_slot + 1, c.heads), cosine, sine);
    at::Tensor const k = rotate(heads(at_slot + 2, c.kv_heads), cosine, sine).repeat_interleave(c.heads / c.kv_heads, 0);
    at::Tensor const v = heads(at_slot + 3, c.kv_heads).repeat_interleave(c.heads / c.kv_heads, 0);
    at::Tensor const scores = (q.matmul(k.transpose(-1, -2)) / std::sqrt(static_cast<double>(c.head_dim))).masked_fill(hidden_future, -INFINITY);
    x = x + scores.softmax(-1).matmul(v).transpose(0, 1).reshape({T, -1}).matmul(w[at_slot + 4].t());
    h = norm(x, w[at_slot + 5], c.rms_norm_eps);
    x = x + (at::silu(h.matmul(w[at_slot + 6].t())) * h.matmul(w[at_slot + 7].t())).matmul(w[at_slot + 8].t());
  }
  at::Tensor const head = c.tied_embeddings ? w[0] : w[at_slot + 1];
  at::Tensor const logp = norm(x, w[at_slot], c.rms_norm_eps).matmul(head.t()).log_softmax(-1);
  auto const n = static_cast<std::int64_t>(completion.size());
  return logp.narrow(0, T - n - 1, n).gather(-1, tokens.narrow(0, T - n, n).unsqueeze(-1)).sum();
}

inline kedge::llm::transformer_config tiny_config(bool tied) {
  kedge::llm::transformer_config c;
  c.vocabulary = 53;
  c.hidden = 24;
  c.intermediate = 40;
  c.layers = 3;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.max_positions = 64;
  c.tied_embeddings = tied;
  return c;
}

inline pack random_parameters(kedge::llm::transformer_config const& c, at::ScalarType type, int seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<double> normal;
  pack theta;
  for (auto const& p : kedge::llm::parameters_of(c)) {
    at::Tensor t = at::empty(p.shape, at::kDouble);
    double* data = t.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) data[i] = (p.shape.size() == 1 ? 1.0 : 0.0) + 0.3 * normal(random);
    theta.push_back(t.to(type));
  }
  return theta;
}

inline std::vector<kedge::llm::preference_pair> random_pairs(std::size_t n, std::int64_t vocabulary, int seed, std::size_t longest_prompt = 9,
                                                             std::size_t longest_completion = 11) {
  std::mt19937 random(static_cast<unsigned>(seed));
  auto ids = [&](std::size_t least, std::size_t most) {
    std::vector<std::int32_t> out(least + random() % (most - least + 1));
    for (auto& id : out) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
    return out;
  };
  std::vector<kedge::llm::preference_pair> pairs(n);
  for (auto& pair : pairs) {
    pair.prompt = ids(1, longest_prompt);
    pair.chosen = ids(1, longest_completion);
    pair.rejected = ids(1, longest_completion);
  }
  return pairs;
}

}  // namespace plain
