// SPDX-License-Identifier: Apache-2.0
#include "head.hpp"

#include <algorithm>

#include "ops.hpp"

namespace kedge::llm {
namespace {

at::Tensor at_least_single(at::Tensor const& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

std::vector<double> on_host(std::vector<at::Tensor> const& parts) {
  if (parts.empty()) return {};
  at::Tensor const host = at::cat(parts).squeeze(-1).to(at::kCPU, at::kDouble);
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

at::Tensor column(std::span<double const> values, at::Device device) {
  return at::tensor(at::ArrayRef<double>(values.data(), values.size()), at::kDouble).to(device).unsqueeze(-1);
}

}  // namespace

completion_head::completion_head(at::Tensor hidden, at::Tensor targets, double temperature, double soft_cap)
    : hidden_(std::move(hidden)), targets_(std::move(targets)), temperature_(temperature), soft_cap_(soft_cap) {}

at::Tensor completion_head::logits(chunk const& part, at::Tensor const& weight) const {
  at::Tensor scores = at_least_single(ops::linear(hidden_.narrow(0, part.begin, part.size), weight));
  ops::soft_cap_(scores, soft_cap_);
  return temperature_ == 1 ? scores : scores.div_(temperature_);
}

completion_head::output completion_head::forward(at::Tensor const& weight, std::int64_t rows, std::int64_t budget_bytes, bool entropies) {
  std::int64_t const total = hidden_.size(0);
  std::vector<at::Tensor> log_sums, logp, entropy;
  chunks_.clear();
  for (std::int64_t begin = 0; begin < total; begin += rows) {
    chunk& part = chunks_.emplace_back(chunk{begin, std::min(rows, total - begin), {}});
    at::Tensor scores = logits(part, weight);
    log_sums.push_back(at::logsumexp(scores, -1, /*keepdim=*/true));
    logp.push_back(scores.gather(-1, targets_.narrow(0, begin, part.size).unsqueeze(-1)).sub_(log_sums.back()));
    std::int64_t const bytes = scores.numel() * static_cast<std::int64_t>(weight.element_size());
    bool const keep = bytes <= budget_bytes && soft_cap_ == 0;  // the slope of a cap takes the logits themselves
    if (!keep && !entropies) continue;
    scores.sub_(log_sums.back());
    at::Tensor p = entropies ? scores.exp() : scores.exp_();
    if (entropies) entropy.push_back(scores.mul_(p).sum(-1, /*keepdim=*/true).neg_());
    if (!keep) continue;
    budget_bytes -= bytes;
    part.probabilities = p.to(weight.scalar_type());
  }
  if (total > 0) log_sums_ = at::cat(log_sums);
  return {on_host(logp), on_host(entropy)};
}

at::Tensor completion_head::backward(std::span<double const> cotangent, at::Tensor const& weight, at::Tensor& weight_gradient) {
  at::Tensor const slopes = column(cotangent, hidden_.device()).div_(temperature_);
  at::Tensor gradient = at::empty_like(hidden_);
  for (chunk& part : chunks_) {
    at::Tensor const scores = part.probabilities.defined() ? at::Tensor() : logits(part, weight);
    at::Tensor p = scores.defined() ? at::sub(scores, log_sums_.narrow(0, part.begin, part.size)).exp_().to(weight.scalar_type())
                                    : std::move(part.probabilities);
    // ∂ log softmax(s)_target / ∂s = onehot(target) − p, times the row's slope
    at::Tensor const c = slopes.narrow(0, part.begin, part.size).to(p.scalar_type());
    p.mul_(c.neg()).scatter_add_(-1, targets_.narrow(0, part.begin, part.size).unsqueeze(-1), c);
    if (soft_cap_ != 0) ops::soft_cap_backward_(p, scores, soft_cap_ / temperature_);
    at::Tensor out = gradient.narrow(0, part.begin, part.size);
    at::mm_out(out, p, weight);
    ops::add_weight_gradient(weight_gradient, p, hidden_.narrow(0, part.begin, part.size));
    p.reset();
  }
  return gradient;
}

std::vector<double> scalar_head::forward(at::Tensor const& weight) const {
  return on_host({at::mm(at_least_single(hidden_), at_least_single(weight).t())});
}

at::Tensor scalar_head::backward(std::span<double const> cotangent, at::Tensor const& weight, at::Tensor& weight_gradient) const {
  at::Tensor const h = at_least_single(hidden_);
  at::Tensor const g = column(cotangent, h.device()).to(h.scalar_type());
  weight_gradient.add_(at::mm(g.t(), h));
  return at::mm(g, at_least_single(weight)).to(hidden_.scalar_type());
}

}  // namespace kedge::llm
