// SPDX-License-Identifier: Apache-2.0
#include "head.hpp"

#include <algorithm>

#include "gpu_ops.hpp"
#include "launches.hpp"
#include "ops.hpp"
#include "profile.hpp"

namespace kedge::llm {
namespace {

at::Tensor joined(std::vector<at::Tensor> const& parts) { return parts.empty() ? at::Tensor() : at::cat(parts).squeeze(-1); }

at::Tensor joined(std::vector<ops::distribution> const& parts, at::Tensor ops::distribution::* figure) {
  std::vector<at::Tensor> all;
  for (ops::distribution const& part : parts) all.push_back(part.*figure);
  return joined(all);
}

}  // namespace

completion_head::completion_head(at::Tensor hidden, at::Tensor targets, double temperature, double soft_cap, double smoothing)
    : hidden_(std::move(hidden)), targets_(std::move(targets)), temperature_(temperature), soft_cap_(soft_cap), smoothing_(smoothing) {}

at::Tensor completion_head::logits(chunk const& part, linear_map const& map) const {
  at::Tensor scores = apply_wide(map, hidden_.narrow(0, part.begin, part.size));
  ops::soft_cap_(scores, soft_cap_);
  return temperature_ == 1 ? scores : scores.div_(temperature_);
}

// p − (1 − ε) onehot(target) − ε/V, in place. It is narrowed afterwards: of a confident token's 1 − p, bf16 would leave nothing.
at::Tensor& completion_head::residual_(chunk const& part, at::Tensor& p) const {
  if (smoothing_ != 0) p.sub_(smoothing_ / static_cast<double>(p.size(-1)));
  return p.scatter_add_(-1, targets_.narrow(0, part.begin, part.size).unsqueeze(-1), at::full({part.size, 1}, smoothing_ - 1, p.options()));
}

at::ScalarType completion_head::residual_type(linear_map const& map) const {
  return operand(hidden_.narrow(0, 0, 0), map).scalar_type() == at::kBFloat16 ? at::kBFloat16 : hidden_.scalar_type();
}

namespace {

// Figures of all rows, and a chunk's part of them.
completion_head::output figures_of(std::int64_t rows, row_figures const& wanted, at::Tensor const& like) {
  auto const figure = [&](bool is_wanted) { return is_wanted ? at::empty({rows}, like.options()) : at::Tensor(); };
  return {.logp = figure(true), .entropy = figure(wanted.entropy), .log_squares = figure(wanted.log_squares), .log_sum = figure(true),
          .mean_logit = figure(wanted.logits), .likeliest = figure(wanted.logits)};
}

}  // namespace

void completion_head::forward_by_kernel(chunk& part, at::Tensor const& scores, bool keeps, output const& out) const {
  auto const rows = [&](at::Tensor const& of) { return of.defined() ? of.narrow(0, part.begin, part.size) : of; };
  if (keeps) part.residual = at::empty(scores.sizes(), hidden_.options());
  gpu_ops::softmax(scores, rows(targets_), smoothing_,
                   {rows(out.log_sum), rows(out.logp), rows(out.entropy), rows(out.mean_logit), rows(out.likeliest), rows(out.log_squares)}, part.residual, {});
}

completion_head::output completion_head::forward(linear_map const& map, std::int64_t rows, std::int64_t budget_bytes, row_figures const& wanted) {
  timed const scope(phase::head);
  section const name("head");
  std::int64_t const total = hidden_.size(0);
  std::vector<at::Tensor> logp, log_squares;
  std::vector<ops::distribution> of;
  output by_kernel;
  by_kernel_ = false;
  chunks_.clear();
  rows = total / std::max<std::int64_t>(1, (total + rows - 1) / rows) + 1;  // as equal as can be
  for (std::int64_t begin = 0; begin < total; begin += rows) {
    chunk& part = chunks_.emplace_back(chunk{begin, std::min(rows, total - begin), {}});
    at::Tensor scores = logits(part, map);
    // The slope of a cap takes the logits themselves.
    auto const bytes = scores.numel() * static_cast<std::int64_t>(at::elementSize(residual_type(map)));
    bool const keeps = soft_cap_ == 0 && bytes <= budget_bytes;
    if (keeps) budget_bytes -= bytes;
    if (by_kernel_ = gpu_ops::takes(scores) && scores.scalar_type() == at::kFloat; by_kernel_) {
      if (begin == 0) by_kernel = figures_of(total, wanted, scores);
      forward_by_kernel(part, scores, keeps, by_kernel);
      continue;
    }
    at::Tensor const targets = targets_.narrow(0, begin, part.size), of_targets = scores.gather(-1, targets.unsqueeze(-1));
    of.push_back(wanted.entropy || wanted.logits ? ops::distribution_(scores, targets) : ops::distribution{.log_sum = ops::softmax_(scores)});
    logp.push_back(at::sub(of_targets, of.back().log_sum));
    if (wanted.log_squares) log_squares.push_back(ops::square_sums(scores).log_());
    if (keeps) part.residual = operand(residual_(part, scores).to(hidden_.scalar_type()), map);
  }
  output out = std::move(by_kernel);
  if (by_kernel_) {
    log_sums_ = out.log_sum.unsqueeze(-1);
    if (wanted.log_squares) out.log_squares.log_();
    if (!wanted.logits) out.log_sum = at::Tensor();
    return out;
  }
  at::Tensor const log_sums = joined(of, &ops::distribution::log_sum);
  if (total > 0) log_sums_ = log_sums.unsqueeze(-1);
  out = {.logp = joined(logp), .log_squares = joined(log_squares)};
  if (wanted.entropy) out.entropy = joined(of, &ops::distribution::entropy);
  if (!wanted.logits) return out;
  out.log_sum = log_sums;
  out.mean_logit = joined(of, &ops::distribution::mean);
  out.likeliest = joined(of, &ops::distribution::likeliest);
  return out;
}

// ∂ log softmax(s)_target / ∂s = onehot(target) − p. The row's slope c goes to the short vectors instead of to p, but where a kernel makes
// c (p − onehot) at once: ∂/∂h = −c (p − onehot) W, ∂/∂W = (p − onehot)ᵀ (−c h). A cap has a slope for each logit.
at::Tensor completion_head::backward(at::Tensor const& cotangent, linear_map const& map, linear_map& map_gradient) {
  timed const scope(phase::head);
  section const name("head");
  at::Tensor const slopes = cotangent.unsqueeze(-1).div(-temperature_).to(log_sums_.scalar_type());
  at::Tensor gradient = at::empty_like(hidden_);
  for (chunk& part : chunks_) {
    auto const rows_of = [&](at::Tensor const& x) { return x.narrow(0, part.begin, part.size); };
    at::Tensor residual = std::move(part.residual), hidden = rows_of(hidden_), c = rows_of(slopes);
    if (!residual.defined()) {
      at::Tensor const scores = logits(part, map);
      if (by_kernel_ && soft_cap_ == 0) {
        residual = gpu_ops::in_place_of(scores, hidden_.scalar_type());
        at::Tensor const unread = at::empty({2, part.size}, scores.options());
        gpu_ops::softmax(scores, rows_of(targets_), smoothing_, {.log_sum = unread.select(0, 0), .logp = unread.select(0, 1)}, residual, c.view({-1}));
        c = at::Tensor();
      } else {
        at::Tensor p = at::sub(scores, rows_of(log_sums_)).exp_();
        residual = ops::soft_cap_backward_(residual_(part, p), scores, soft_cap_ / temperature_).to(hidden_.scalar_type());
      }
    }
    at::Tensor of_hidden = input_gradient(map, residual);
    rows_of(gradient).copy_(c.defined() ? of_hidden.mul_(c) : of_hidden);
    if (!map_gradient.weight.defined() && !map_gradient.a.defined()) continue;
    add_weight_gradients(map_gradient, map, residual, c.defined() ? at::mul(hidden, c).to(hidden.scalar_type()) : hidden);
    if (map_gradient.bias_of_b.defined()) {
      at::ScalarType const type = map_gradient.bias_of_b.scalar_type();
      map_gradient.bias_of_b.add_(c.defined() ? at::mm(residual.t().to(type), c.to(type)).squeeze(-1) : residual.sum(0, /*keepdim=*/false, type), map.scale);
    }
  }
  return gradient;
}

at::Tensor scalar_head::forward(at::Tensor const& weight) const { return at::mm(ops::wide(hidden_), ops::wide(weight).t()).squeeze(-1); }

at::Tensor scalar_head::backward(at::Tensor const& cotangent, at::Tensor const& weight, at::Tensor& weight_gradient) const {
  at::Tensor const h = ops::wide(hidden_);
  at::Tensor const g = cotangent.unsqueeze(-1).to(h.scalar_type());
  weight_gradient.add_(at::mm(g.t(), h));
  return at::mm(g, ops::wide(weight)).to(hidden_.scalar_type());
}

}  // namespace kedge::llm
