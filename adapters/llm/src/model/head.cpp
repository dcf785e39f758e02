// SPDX-License-Identifier: Apache-2.0
#include "head.hpp"

#include <algorithm>

#include "ops.hpp"

namespace kedge::llm {

completion_head::completion_head(at::Tensor hidden, at::Tensor targets, at::Tensor sequence, std::size_t sequences)
    : hidden_(std::move(hidden)), targets_(std::move(targets)), sequence_(std::move(sequence)), sequences_(sequences) {}

at::Tensor completion_head::logits(chunk const& part, at::Tensor const& weight) const {
  at::Tensor const products = ops::linear(hidden_.narrow(0, part.begin, part.size), weight);
  return products.scalar_type() == at::kDouble ? products : products.to(at::kFloat);
}

std::vector<double> completion_head::forward(at::Tensor const& weight, std::int64_t rows, std::int64_t budget_bytes) {
  std::int64_t const total = hidden_.size(0);
  std::vector<at::Tensor> log_sums, logp;
  chunks_.clear();
  for (std::int64_t begin = 0; begin < total; begin += rows) {
    chunk& part = chunks_.emplace_back(chunk{begin, std::min(rows, total - begin), {}});
    at::Tensor scores = logits(part, weight);
    log_sums.push_back(at::logsumexp(scores, -1, /*keepdim=*/true));
    logp.push_back(scores.gather(-1, targets_.narrow(0, begin, part.size).unsqueeze(-1)).sub_(log_sums.back()));
    std::int64_t const bytes = scores.numel() * static_cast<std::int64_t>(weight.element_size());
    if (bytes > budget_bytes) continue;
    budget_bytes -= bytes;
    part.probabilities = scores.sub_(log_sums.back()).exp_().to(weight.scalar_type());
  }
  at::Tensor sums = at::zeros({static_cast<std::int64_t>(sequences_)}, hidden_.options().dtype(at::kDouble));
  if (total > 0) {
    log_sums_ = at::cat(log_sums);
    sums.index_add_(0, sequence_, at::cat(logp).squeeze(-1).to(at::kDouble));
  }
  at::Tensor const host = sums.to(at::kCPU);
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + sequences_};
}

at::Tensor completion_head::backward(std::span<double const> cotangent, at::Tensor const& weight, at::Tensor& weight_gradient) {
  at::Tensor const slopes = at::tensor(at::ArrayRef<double>(cotangent.data(), cotangent.size()), at::kDouble)
                                .to(hidden_.device())
                                .index_select(0, sequence_)
                                .unsqueeze(-1);
  at::Tensor gradient = at::empty_like(hidden_);
  for (chunk& part : chunks_) {
    at::Tensor p = part.probabilities.defined()
                       ? std::move(part.probabilities)
                       : logits(part, weight).sub_(log_sums_.narrow(0, part.begin, part.size)).exp_().to(weight.scalar_type());
    // ∂ log softmax(s)_target / ∂s = onehot(target) − p, times the sequence's slope
    at::Tensor const c = slopes.narrow(0, part.begin, part.size).to(p.scalar_type());
    p.mul_(c.neg()).scatter_add_(-1, targets_.narrow(0, part.begin, part.size).unsqueeze(-1), c);
    at::Tensor out = gradient.narrow(0, part.begin, part.size);
    at::mm_out(out, p, weight);
    ops::add_weight_gradient(weight_gradient, p, hidden_.narrow(0, part.begin, part.size));
    p.reset();
  }
  return gradient;
}

}  // namespace kedge::llm
