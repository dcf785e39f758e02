// SPDX-License-Identifier: Apache-2.0
#include "ops.hpp"

#include <cmath>
#include <numbers>

namespace kedge::llm::ops {

at::Tensor linear(at::Tensor const& x, at::Tensor const& weight) { return at::mm(x, weight.t()); }

at::Tensor linear_onto(at::Tensor const& residual, at::Tensor const& x, at::Tensor const& weight) {
  if (residual.scalar_type() == x.scalar_type()) return at::addmm(residual, x, weight.t());
  return at::add(residual, at::mm(x, weight.t()));
}

void add_weight_gradient(at::Tensor& accumulator, at::Tensor const& g, at::Tensor const& x) {
  if (accumulator.scalar_type() == x.scalar_type())
    accumulator.addmm_(g.t(), x);
  else
    accumulator.add_(at::mm(g.t(), x));
}

rms_norm::rms_norm(at::Tensor input, double eps)
    : x(std::move(input)), inverse_rms(at::rsqrt(x.square().mean(-1, /*keepdim=*/true).add_(eps))) {}

at::Tensor rms_norm::output(at::Tensor const& weight) const {
  return at::mul(x, inverse_rms).to(weight.scalar_type()).mul_(weight);
}

at::Tensor rms_norm::backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& weight_gradient) const {
  at::Tensor const normalised = at::mul(x, inverse_rms);
  at::Tensor const wide = g.to(x.scalar_type());
  weight_gradient.add_(at::mul(wide, normalised).sum(0));
  at::Tensor scaled = at::mul(wide, weight);
  at::Tensor const along = at::mul(scaled, normalised).mean(-1, /*keepdim=*/true);
  return scaled.addcmul_(normalised, along, -1).mul_(inverse_rms);
}

at::Tensor swiglu(at::Tensor const& gate, at::Tensor const& up) { return at::silu(gate).mul_(up); }

swiglu_gradients swiglu_backward(at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up) {
  return {at::silu_backward(at::mul(g, up), gate), at::silu(gate).mul_(g)};
}

rotation::rotation(at::Tensor const& positions, at::Tensor const& inverse_frequencies, at::ScalarType type) {
  at::Tensor const angles = at::outer(positions.to(at::kFloat), inverse_frequencies).unsqueeze(1);
  at::ScalarType const wide = type == at::kDouble ? at::kDouble : at::kFloat;
  cosine = at::cos(angles).to(wide);
  sine = at::sin(angles).to(wide);
}

at::Tensor rotation::turn(at::Tensor const& x, double direction) const {
  std::int64_t const half = x.size(-1) / 2;
  at::Tensor const wide = x.to(cosine.scalar_type());
  at::Tensor const left = wide.narrow(-1, 0, half), right = wide.narrow(-1, half, half);
  at::Tensor turned = at::empty_like(wide);
  at::Tensor out_left = turned.narrow(-1, 0, half), out_right = turned.narrow(-1, half, half);
  at::mul_out(out_left, left, cosine).addcmul_(right, sine, -direction);
  at::mul_out(out_right, right, cosine).addcmul_(left, sine, direction);
  return turned.to(x.scalar_type());
}

at::Tensor inverse_frequencies(rope_settings const& rope, std::int64_t head_dim) {
  at::Tensor const exponent = at::arange(0, head_dim, 2, at::kFloat).div_(static_cast<double>(head_dim));
  at::Tensor frequency = at::reciprocal(at::pow(rope.theta, exponent));
  if (rope.type == "linear") return frequency.div_(rope.factor);
  if (rope.type != "llama3") return frequency;
  auto const length = static_cast<double>(rope.original_length);
  at::Tensor const wavelength = at::reciprocal(frequency).mul_(2 * std::numbers::pi);
  at::Tensor const smooth = at::reciprocal(wavelength)
                                .mul_(length)
                                .sub_(rope.low_frequency_factor)
                                .div_(rope.high_frequency_factor - rope.low_frequency_factor)
                                .clamp_(0, 1);
  return frequency * (smooth + (1 - smooth) / rope.factor);
}

namespace {

struct span_of_tokens {
  std::int64_t begin, size;
  [[nodiscard]] at::Tensor of(at::Tensor const& x) const { return x.narrow(0, begin, size); }
};

// [S, heads, d] as attention kernels want it: [1, heads, S, d].
at::Tensor by_head(at::Tensor const& x) { return x.transpose(0, 1).unsqueeze(0); }
at::Tensor by_token(at::Tensor const& x) { return x.squeeze(0).transpose(0, 1); }

// 0 where query i of `queries` may see key j of prompt + queries, -inf elsewhere.
at::Tensor continuation_mask(std::int64_t prompt, std::int64_t queries, at::Tensor const& like) {
  at::ScalarType const type = like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::full({queries, prompt + queries}, -INFINITY, like.options().dtype(type)).triu_(prompt + 1);
}

struct attended {
  at::Tensor output, log_sum;
};

// The fused CPU kernel's backward step is several times slower in bf16 than in fp32, which is more exact as well.
at::Tensor wide(at::Tensor const& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

// One attention call. The fused CPU kernel never holds the score matrix; elsewhere plain products give the same result.
attended attend(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v, std::optional<at::Tensor> const& mask) {
  if (q.is_cpu()) {
    auto [output, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(wide(q), wide(k), wide(v), 0.0, !mask, mask);
    return {output.to(q.scalar_type()), log_sum};
  }
  std::int64_t const group = q.size(1) / k.size(1);
  at::Tensor const keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  at::Tensor scores = at::matmul(q, keys.transpose(-1, -2)).to(at::kFloat).div_(std::sqrt(static_cast<double>(q.size(-1))));
  scores.add_(mask ? *mask : continuation_mask(k.size(2) - q.size(2), q.size(2), scores));
  at::Tensor const log_sum = at::logsumexp(scores, -1);
  return {at::matmul(scores.sub_(log_sum.unsqueeze(-1)).exp_().to(v.scalar_type()), values), log_sum};
}

shared_prompt_attention::gradients attend_backward(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                   at::Tensor const& v, attended const& kept,
                                                   std::optional<at::Tensor> const& mask) {
  if (q.is_cpu()) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        wide(g), wide(q), wide(k), wide(v), wide(kept.output), kept.log_sum, 0.0, !mask, mask);
    return {dq, dk, dv};  // copied into gradients of q's type
  }
  std::int64_t const group = q.size(1) / k.size(1);
  double const scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
  at::Tensor const keys = k.repeat_interleave(group, 1), values = v.repeat_interleave(group, 1);
  at::Tensor p = at::matmul(q, keys.transpose(-1, -2)).to(at::kFloat).mul_(scale);
  p.add_(mask ? *mask : continuation_mask(k.size(2) - q.size(2), q.size(2), p));
  p.sub_(kept.log_sum.unsqueeze(-1)).exp_();
  at::Tensor const dp = at::matmul(g, values.transpose(-1, -2)).to(at::kFloat);
  at::Tensor const inner = at::mul(g, kept.output).sum(-1, /*keepdim=*/true, at::kFloat);
  at::Tensor const ds = (dp - inner).mul_(p).mul_(scale).to(q.scalar_type());
  auto over_groups = [&](at::Tensor const& x) {
    return x.unflatten(1, {k.size(1), group}).sum(2);
  };
  return {at::matmul(ds, keys), over_groups(at::matmul(ds.transpose(-1, -2), q)),
          over_groups(at::matmul(p.to(g.scalar_type()).transpose(-1, -2), g))};
}

}  // namespace

at::Tensor shared_prompt_attention::forward(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  at::Tensor output = at::empty_like(q);
  log_sums_.clear();
  auto call = [&](span_of_tokens queries, at::Tensor const& keys, at::Tensor const& values, std::optional<at::Tensor> const& mask) {
    attended const result = attend(by_head(queries.of(q)), by_head(keys), by_head(values), mask);
    queries.of(output).copy_(by_token(result.output));
    log_sums_.push_back(result.log_sum);
  };
  for (shared_prompt const& group : *prompts_) {
    span_of_tokens const prompt{group.begin, group.prompt};
    span_of_tokens const first{group.begin, group.prompt + group.completions.front()};
    call(first, first.of(k), first.of(v), {});
    std::int64_t begin = first.begin + first.size;
    for (std::size_t i = 1; i < group.completions.size(); ++i) {
      span_of_tokens const own{begin, group.completions[i]};
      begin += own.size;
      if (own.size == 0) continue;
      call(own, at::cat({prompt.of(k), own.of(k)}), at::cat({prompt.of(v), own.of(v)}),
           continuation_mask(prompt.size, own.size, q));
    }
  }
  return output;
}

shared_prompt_attention::gradients shared_prompt_attention::backward(at::Tensor const& g, at::Tensor const& q,
                                                                     at::Tensor const& k, at::Tensor const& v,
                                                                     at::Tensor const& output) const {
  gradients total{at::empty_like(q), at::empty_like(k), at::empty_like(v)};
  std::size_t next = 0;
  auto call = [&](span_of_tokens queries, at::Tensor const& keys, at::Tensor const& values, std::optional<at::Tensor> const& mask) {
    gradients part = attend_backward(by_head(queries.of(g)), by_head(queries.of(q)), by_head(keys), by_head(values),
                                     {by_head(queries.of(output)), log_sums_[next++]}, mask);
    queries.of(total.q).copy_(by_token(part.q));
    return part;
  };
  for (shared_prompt const& group : *prompts_) {
    span_of_tokens const prompt{group.begin, group.prompt};
    span_of_tokens const first{group.begin, group.prompt + group.completions.front()};
    gradients const run_on = call(first, first.of(k), first.of(v), {});
    first.of(total.k).copy_(by_token(run_on.k));
    first.of(total.v).copy_(by_token(run_on.v));
    std::int64_t begin = first.begin + first.size;
    for (std::size_t i = 1; i < group.completions.size(); ++i) {
      span_of_tokens const own{begin, group.completions[i]};
      begin += own.size;
      if (own.size == 0) continue;
      gradients const part = call(own, at::cat({prompt.of(k), own.of(k)}), at::cat({prompt.of(v), own.of(v)}),
                                  continuation_mask(prompt.size, own.size, q));
      at::Tensor const dk = by_token(part.k), dv = by_token(part.v);
      prompt.of(total.k).add_(dk.narrow(0, 0, prompt.size));
      prompt.of(total.v).add_(dv.narrow(0, 0, prompt.size));
      own.of(total.k).copy_(dk.narrow(0, prompt.size, own.size));
      own.of(total.v).copy_(dv.narrow(0, prompt.size, own.size));
    }
  }
  return total;
}

}  // namespace kedge::llm::ops
