// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <random>

#include "check.hpp"

namespace kedge::gpu_check {

bool say(json const& row) {
  std::printf("%s\n", row.dump().c_str());
  std::fflush(stdout);
  return row.value("holds", true);
}

transformer_config tiny_llama() {
  transformer_config c;
  c.vocabulary = 500;
  c.hidden = 64;
  c.intermediate = 96;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.max_positions = 4096;
  return c;
}

pack random_weights(transformer_config const& c, at::Device device, at::ScalarType type) {
  at::manual_seed(0);
  pack theta;
  for (llm::parameter const& p : llm::parameters_of(c)) {
    at::Tensor const t = at::randn(p.shape, at::kFloat).mul_(p.shape.size() == 1 ? 0.02 : 0.1);
    theta.push_back((p.shape.size() == 1 ? t + 1 : t).to(at::kBFloat16).to(device, type));  // numbers of bf16, so that no type rounds them
  }
  return theta;
}

ragged_batch random_pairs(std::int64_t vocabulary, std::size_t pairs, std::size_t prompt, std::size_t completion) {
  std::mt19937 random(1);
  auto const ids = [&](std::size_t n) {
    std::vector<std::int32_t> tokens(n);
    for (auto& id : tokens) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
    return tokens;
  };
  std::vector<llm::preference_pair> all(pairs);
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < pairs; ++i) {
    all[i].prompt = ids(prompt - i % 2);
    all[i].chosen = ids(completion);
    all[i].rejected = ids(completion - i % 3);
    which.push_back(i);
  }
  return llm::pack_pairs(all, which);
}

pack moved(pack theta, at::Device device, at::ScalarType type) {
  for (at::Tensor& t : theta) t = t.to(device, type);
  return theta;
}

pack zeros_of(pack const& theta, at::ScalarType type) {
  pack zeros;
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros(t.sizes(), t.options().dtype(type)));
  return zeros;
}

passes run(causal_lm const& model, pack const& weights, ragged_batch const& batch, std::span<double const> cotangent) {
  auto [logp, pullback] = model.forward(weights, batch);
  passes result{std::move(logp), zeros_of(weights, weights.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat)};
  pullback(cotangent, result.gradient);
  return result;
}

passes run(causal_lm const& model, pack const& weights, ragged_batch const& batch) {
  std::vector<double> cotangent;
  for (std::size_t i = 0; i < batch.sequences; ++i) cotangent.push_back(i % 2 == 0 ? -0.5 : 0.5);
  return run(model, weights, batch, cotangent);
}

errors errors_of(passes const& got, passes const& exact) {
  errors e;
  for (std::size_t i = 0; i < exact.logp.size(); ++i)
    e.logp = std::max(e.logp, std::abs(got.logp[i] - exact.logp[i]) / std::max(1.0, std::abs(exact.logp[i])));
  std::vector<double> off, whole;
  double all_off = 0, all = 0;
  for (std::size_t i = 0; i < exact.gradient.size(); ++i) {
    at::Tensor const g = got.gradient[i].to(at::kCPU, at::kDouble);
    off.push_back((g - exact.gradient[i]).norm().item<double>());
    whole.push_back(exact.gradient[i].norm().item<double>());
    all_off += off.back() * off.back();
    all += whole.back() * whole.back();
  }
  e.gradient = std::sqrt(all_off / all);
  for (std::size_t i = 0; i < off.size(); ++i)
    if (!(whole[i] < 1e-3 * std::sqrt(all))) e.tensor = std::max(e.tensor, off[i] / whole[i]);
  // NaN is no error that max keeps.
  for (double const x : got.logp)
    if (!std::isfinite(x)) e.logp = INFINITY;
  if (!std::isfinite(e.gradient)) e.gradient = e.tensor = INFINITY;
  return e;
}

void wait_for(at::Device device) {
  if (device.is_cuda()) static_cast<void>(at::zeros({1}, at::TensorOptions().device(device)).item<float>());
}

}  // namespace kedge::gpu_check
