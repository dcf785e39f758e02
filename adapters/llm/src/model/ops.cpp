// SPDX-License-Identifier: Apache-2.0
#include "ops.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include <torch/version.h>

#include "host_ops.hpp"
#include "profile.hpp"
#include "varlen_attention.hpp"

namespace kedge::llm::ops {

namespace {

// Whether the processor's kernels multiply these; they give fp32.
bool goes_fast(at::Tensor const& x, at::Tensor const& y) { return host_ops::multiplies_by(x) && host_ops::multiplies_by(y); }

// Of a product of rows with a matrix of a weight's size.
struct timed_product : timed {
  timed_product(at::Tensor const& rows, at::Tensor const& weight) : timed(phase::products) {
    count(2.0 * static_cast<double>(rows.size(0)) * static_cast<double>(weight.numel()));
  }
};

}  // namespace

at::ScalarType stream_type(at::Tensor const& weight) {
  return host_ops::multiplies_by(weight) ? at::kFloat : weight.scalar_type();
}

at::Tensor wide(at::Tensor const& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

at::Tensor converted(at::Tensor const& x, at::ScalarType type) {
  auto const fits = [](at::ScalarType t) { return t == at::kFloat || t == at::kBFloat16; };
  return x.is_cpu() && fits(x.scalar_type()) && fits(type) ? host_ops::converted(x, type) : x.to(type);
}

at::Tensor linear(at::Tensor const& x, at::Tensor const& weight) {
  timed_product const scope(x, weight);
  if (!goes_fast(x, weight)) return at::mm(x, weight.t());
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  host_ops::multiply(out, x, weight.t());
  return out;
}

at::Tensor linear_wide(at::Tensor const& x, at::Tensor const& weight) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 15
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16) {
    timed_product const scope(x, weight);
    return at::mm(x, weight.t(), at::kFloat);
  }
#endif
  return wide(ops::linear(x, weight));
}

at::Tensor linear_onto(at::Tensor const& residual, at::Tensor const& x, at::Tensor const& weight) {
  timed_product const scope(x, weight);
  if (goes_fast(x, weight) && host_ops::takes(residual)) {
    at::Tensor out = at::empty_like(residual);
    host_ops::multiply(out, x, weight.t(), residual);
    return out;
  }
  if (residual.scalar_type() == x.scalar_type()) return at::addmm(residual, x, weight.t());
  return at::add(residual, at::mm(x, weight.t()));
}

at::Tensor input_gradient(at::Tensor const& g, at::Tensor const& weight) {
  timed_product const scope(g, weight);
  if (!goes_fast(g, weight)) return at::mm(g, weight);
  at::Tensor out = at::empty({g.size(0), weight.size(1)}, g.options().dtype(at::kFloat));
  host_ops::multiply(out, g, weight);
  return out;
}

void add_input_gradient(at::Tensor& onto, at::Tensor const& g, at::Tensor const& weight) {
  timed_product const scope(g, weight);
  if (goes_fast(g, weight) && host_ops::takes(onto))
    host_ops::multiply(onto, g, weight, onto);
  else
    onto.addmm_(g, weight);
}

at::Tensor operand(at::Tensor const& x, at::Tensor const& weight) {
  bool const rounds = x.is_cpu() && weight.scalar_type() == at::kBFloat16 && host_ops::rounds_operands();
  return rounds ? converted(x, at::kBFloat16) : x;
}

void add_weight_gradient(at::Tensor& accumulator, at::Tensor const& g, at::Tensor const& x) {
  timed_product const scope(g, accumulator);
  if (goes_fast(g, x) && host_ops::takes(accumulator))
    host_ops::multiply(accumulator, g.t(), x, accumulator);
  else if (goes_fast(g, x)) {
    // Kernels write rows; an expert's part of a stack may lie otherwise.
    at::Tensor const product = at::empty(accumulator.sizes(), g.options().dtype(at::kFloat));
    host_ops::multiply(product, g.t(), x);
    accumulator.add_(product);
  } else if (accumulator.scalar_type() == x.scalar_type())
    accumulator.addmm_(g.t(), x);
  else
    accumulator.add_(at::mm(g.t(), x));
}

rms_norm::rms_norm(at::Tensor input, double eps, double weight_offset, norm_kind kind)
    : x(std::move(input)), offset(weight_offset), centred(kind == norm_kind::layer) {
  timed const scope(phase::activations);
  if (centred) x = host_ops::takes(x) ? host_ops::centred(x) : at::sub(x, x.mean(-1, /*keepdim=*/true));
  inverse_rms = host_ops::takes(x) ? host_ops::inverse_rms(x, eps) : at::rsqrt(x.square().mean(-1, /*keepdim=*/true).add_(eps));
}

rms_norm rms_norm::none(at::Tensor input) {
  rms_norm norm;
  norm.x = std::move(input);
  return norm;
}

at::Tensor rms_norm::output(at::Tensor const& weight) const {
  timed const scope(phase::activations);
  if (host_ops::takes(x) && host_ops::multiplies_by(weight))
    return host_ops::scale(x, inverse_rms, weight.to(at::kFloat), offset);
  at::Tensor normalised = at::mul(x, inverse_rms);
  if (offset != 0) return normalised.mul_(weight.to(x.scalar_type()) + offset).to(weight.scalar_type());
  return normalised.to(weight.scalar_type()).mul_(weight);
}

at::Tensor rms_norm::backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& weight_gradient) const {
  at::Tensor gx = at::zeros_like(x);
  add_backward(g, weight, gx, weight_gradient);
  return gx;
}

void rms_norm::add_backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& gx, at::Tensor& weight_gradient) const {
  timed const scope(phase::activations);
  if (!weight.defined()) {
    gx.add_(g);
    return;
  }
  if (centred) {  // to take the mean away is a projection, and its own backward step
    rms_norm plain = *this;
    plain.centred = false;
    at::Tensor of_centred = at::zeros_like(x);
    plain.add_backward(g, weight, of_centred, weight_gradient);
    gx.add_(of_centred).sub_(of_centred.mean(-1, /*keepdim=*/true));
    return;
  }
  if (host_ops::takes(x) && host_ops::takes(g) && host_ops::takes(gx) && host_ops::multiplies_by(weight))
    return host_ops::scale_backward(g, x, inverse_rms, weight.to(at::kFloat), offset, gx, weight_gradient);
  at::Tensor const normalised = at::mul(x, inverse_rms);
  at::Tensor const wide = g.to(x.scalar_type());
  if (weight_gradient.defined()) weight_gradient.add_(at::mul(wide, normalised).sum(0));
  at::Tensor scaled = offset == 0 ? at::mul(wide, weight) : at::mul(wide, weight.to(x.scalar_type()) + offset);
  at::Tensor const along = at::mul(scaled, normalised).mean(-1, /*keepdim=*/true);
  gx.addcmul_(scaled.addcmul_(normalised, along, -1), inverse_rms);
}

namespace {

bool goes_fast(at::Tensor const& x) { return host_ops::takes(x) && x.is_contiguous(); }

std::string_view approximation(activation act) { return act == activation::gelu_tanh ? "tanh" : "none"; }

}  // namespace

at::Tensor activated(activation act, at::Tensor const& x) {
  if (goes_fast(x)) return host_ops::activated(act, x);
  switch (act) {
    case activation::silu:
      return at::silu(x);
    case activation::relu2:
      return at::relu(x).square_();
    default:
      return at::gelu(x, approximation(act));
  }
}

at::Tensor activated_backward(activation act, at::Tensor const& g, at::Tensor const& x) {
  if (goes_fast(g) && goes_fast(x)) return host_ops::activated_backward(act, g, x);
  switch (act) {
    case activation::silu:
      return at::silu_backward(g, x);
    case activation::relu2:
      return at::relu(x).mul_(2).mul_(g);
    default:
      return at::gelu_backward(g, x, approximation(act));
  }
}

at::Tensor gated(activation act, at::Tensor const& gate, at::Tensor const& up) {
  timed const scope(phase::activations);
  return goes_fast(gate) && goes_fast(up) ? host_ops::gated(act, gate, up) : activated(act, gate).mul_(up);
}

gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up) {
  timed const scope(phase::activations);
  if (goes_fast(g) && goes_fast(gate) && goes_fast(up)) {
    gated_gradients result;
    host_ops::gated_backward(act, g, gate, up, result.gate, result.up);
    return result;
  }
  return {activated_backward(act, at::mul(g, up), gate), activated(act, gate).mul_(g)};
}

at::Tensor& soft_cap_(at::Tensor& x, double cap) {
  if (cap == 0) return x;
  if (!goes_fast(x)) return x.div_(cap).tanh_().mul_(cap);
  host_ops::soft_cap_(x, cap);
  return x;
}

at::Tensor& soft_cap_backward_(at::Tensor& g, at::Tensor const& y, double cap) {
  return cap == 0 ? g : g.sub_(at::mul(g, at::div(y, cap).square_()));
}

rotation::rotation(at::Tensor const& positions, at::Tensor const& frequencies, at::ScalarType type, double factor) {
  at::Tensor const angles = at::mul(positions.to(at::kFloat).unsqueeze(-1), frequencies).unsqueeze(1);
  at::ScalarType const wide = type == at::kDouble ? at::kDouble : at::kFloat;
  cosine = at::cos(angles).to(wide);
  sine = at::sin(angles).to(wide);
  if (factor == 1) return;
  cosine.mul_(factor);
  sine.mul_(factor);
}

at::Tensor rotation::turn(at::Tensor x, double direction) const {
  timed const scope(phase::activations);
  if (goes_fast(x)) {
    host_ops::rotate(x, cosine, sine, direction, interleaved);
    return x;
  }
  std::int64_t const half = cosine.size(-1), rest = x.size(-1) - 2 * half;
  at::Tensor const wide = x.to(cosine.scalar_type());
  auto const part = [&](at::Tensor const& of, std::int64_t which) {
    return interleaved ? of.slice(-1, which, 2 * half, 2) : of.narrow(-1, which * half, half);
  };
  at::Tensor const left = part(wide, 0), right = part(wide, 1);
  at::Tensor turned = at::empty_like(wide);
  at::Tensor out_left = part(turned, 0), out_right = part(turned, 1);
  at::mul_out(out_left, left, cosine).addcmul_(right, sine, -direction);
  at::mul_out(out_right, right, cosine).addcmul_(left, sine, direction);
  if (rest > 0) turned.narrow(-1, 2 * half, rest).copy_(wide.narrow(-1, 2 * half, rest));
  return turned.to(x.scalar_type());
}

namespace {

// In place. -> log Σ exp of each row whose largest number is given
at::Tensor softmax_of(at::Tensor& scores, at::Tensor const& largest) {
  at::Tensor const total = scores.sub_(largest).exp_().sum(-1, /*keepdim=*/true);
  scores.div_(total);
  return at::log(total).add_(largest);
}

}  // namespace

at::Tensor softmax_(at::Tensor& scores) {
  if (host_ops::takes(scores)) return host_ops::softmax_(scores);
  return softmax_of(scores, at::amax(scores, -1, /*keepdim=*/true));
}

distribution distribution_(at::Tensor& scores, at::Tensor const& targets) {
  if (host_ops::takes(scores)) return host_ops::distribution_(scores, targets);
  auto const [largest, place] = at::max(scores, -1, /*keepdim=*/true);  // the first place, of several
  distribution all;
  all.mean = scores.mean(-1, /*keepdim=*/true);
  all.likeliest = at::eq(place, targets.unsqueeze(-1)).to(scores.scalar_type());
  all.log_sum = softmax_of(scores, largest);
  all.entropy = at::special_entr(scores).sum(-1, /*keepdim=*/true);
  return all;
}

at::Tensor square_sums(at::Tensor const& x) {
  if (host_ops::takes(x)) return host_ops::square_sums(x);
  return at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true).square_();
}

namespace {

at::Tensor of(token_range const& tokens, at::Tensor const& x) { return x.narrow(0, tokens.begin, tokens.size); }

// All that a run's queries see: prefix, prompt, and their own.
at::Tensor seen(attention_run const& run, at::Tensor const& x) {
  std::int64_t const before = run.prefix.size + run.prompt.size;
  return before == 0 ? of(run.own, x) : at::cat({of(run.prefix, x), of(run.prompt, x), of(run.own, x)});
}

// The other way round: gradients of these.
void add_seen(attention_run const& run, at::Tensor const& gradient, at::Tensor const& onto) {
  std::int64_t begin = 0;
  for (token_range const& part : {run.prefix, run.prompt, run.own}) {
    of(part, onto).add_(gradient.narrow(0, begin, part.size));
    begin += part.size;
  }
}

// [S, heads, d] as attention kernels want it: [1, heads, S, d].
at::Tensor by_head(at::Tensor const& x) { return x.transpose(0, 1).unsqueeze(0); }
at::Tensor by_token(at::Tensor const& x) { return x.squeeze(0).transpose(0, 1); }

// 0 where query i of `queries` may see key j of prompt + queries, -inf elsewhere.
at::Tensor visibility(std::int64_t prompt, std::int64_t queries, std::int64_t window, at::Tensor const& like) {
  at::ScalarType const type = like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor const all = at::full({queries, prompt + queries}, -INFINITY, like.options().dtype(type));
  at::Tensor future = at::triu(all, prompt + 1);
  return window > 0 && window < prompt + queries ? future.add_(at::tril(all, prompt - window)) : future;
}

struct attended {
  at::Tensor output, log_sum;
};

// One attention call: the last queries of as many keys. The fused CPU kernel never holds the score matrix; where it can't be
// used, plain products give the same result. It gets wide numbers: its backward step is several times slower in bf16 than in fp32,
// which is more exact as well.
class attention_call {
 public:
  attention_call(attention_settings const& settings, at::Tensor const& q, at::Tensor const& k, at::Tensor const& v)
      : settings_(settings), q_(q), k_(k), v_(v), fused_(q.is_cpu() && settings.soft_cap == 0) {
    std::int64_t const queries = q.size(2), prompt = k.size(2) - queries;
    bool const plain = prompt == 0 && (settings.window == 0 || settings.window >= queries);
    if (!plain || !fused_) mask_ = visibility(prompt, queries, settings.window, q);
  }

  [[nodiscard]] attended forward() const {
    if (fused_) {
      auto [output, log_sum] =
          at::_scaled_dot_product_flash_attention_for_cpu(wide(q_), wide(k_), wide(v_), 0.0, !mask_, mask_, settings_.scale);
      return {output.to(q_.scalar_type()), log_sum};
    }
    at::Tensor scores = capped_scores().add_(*mask_);
    at::Tensor const log_sum = at::logsumexp(scores, -1);
    return {at::matmul(scores.sub_(log_sum.unsqueeze(-1)).exp_().to(v_.scalar_type()), over_heads(v_)), log_sum};
  }

  [[nodiscard]] shared_prompt_attention::gradients backward(at::Tensor const& g, attended const& kept) const {
    if (fused_) {
      auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          wide(g), wide(q_), wide(k_), wide(v_), wide(kept.output), kept.log_sum, 0.0, !mask_, mask_, settings_.scale);
      return {dq, dk, dv, {}};  // copied into gradients of q's type
    }
    at::Tensor const scores = capped_scores();
    at::Tensor const p = at::add(scores, *mask_).sub_(kept.log_sum.unsqueeze(-1)).exp_();
    at::Tensor const dp = at::matmul(g, over_heads(v_).transpose(-1, -2)).to(p.scalar_type());
    at::Tensor const inner = at::mul(g, kept.output).sum(-1, /*keepdim=*/true, p.scalar_type());
    at::Tensor ds = (dp - inner).mul_(p).mul_(settings_.scale);
    ds = soft_cap_backward_(ds, scores, settings_.soft_cap).to(q_.scalar_type());
    return {at::matmul(ds, over_heads(k_)), over_groups(at::matmul(ds.transpose(-1, -2), q_)),
            over_groups(at::matmul(p.to(g.scalar_type()).transpose(-1, -2), g)), {}};
  }

 private:
  [[nodiscard]] std::int64_t group() const { return q_.size(1) / k_.size(1); }
  [[nodiscard]] at::Tensor over_heads(at::Tensor const& x) const { return x.repeat_interleave(group(), 1); }
  [[nodiscard]] at::Tensor over_groups(at::Tensor const& x) const { return x.unflatten(1, {k_.size(1), group()}).sum(2); }
  [[nodiscard]] at::Tensor capped_scores() const {
    at::Tensor scores = wide(at::matmul(q_, over_heads(k_).transpose(-1, -2))).mul_(settings_.scale);
    return soft_cap_(scores, settings_.soft_cap);
  }

  attention_settings const& settings_;
  at::Tensor q_, k_, v_;
  bool fused_;
  std::optional<at::Tensor> mask_;
};

// How often a token sees another one, or itself, with no window.
double visible_pairs(std::vector<shared_prompt> const& prompts) {
  double pairs = 0;
  for (shared_prompt const& group : prompts)
    each_run(group, [&](attention_run const& run) {
      auto const own = static_cast<double>(run.own.size);
      pairs += own * static_cast<double>(run.prefix.size + run.prompt.size) + 0.5 * own * (own + 1);
    });
  return pairs;
}

}  // namespace

attention_segments::attention_segments(std::vector<shared_prompt> of_prompts, varlen_lists in_lists)
    : prompts(std::move(of_prompts)), runs(host_ops::runs_by_cost(prompts)), lists(std::move(in_lists)) {}

bool shared_prompt_attention::goes_fast(at::Tensor const& q) const { return host_ops::takes(q); }

at::Tensor shared_prompt_attention::forward(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  timed const scope(phase::attention);
  scope.count(4 * visible_pairs(segments_->prompts) * static_cast<double>(q.size(1) * q.size(2)));
  log_sums_.clear();
  at::Tensor output = without_sinks(q, k, v);
  if (settings_.sinks.defined()) join_sinks(output);
  return output;
}

at::Tensor shared_prompt_attention::without_sinks(at::Tensor const& q, at::Tensor const& k, at::Tensor const& v) {
  if (goes_fast(q)) return host_ops::attention(segments_->runs, settings_, q, k, v, log_sums_.emplace_back());
  if (segments_->lists.keys.defined()) return varlen_attention(segments_->lists, settings_, q, k, v, log_sums_);
  at::Tensor output = at::empty_like(q);
  for (shared_prompt const& group : segments_->prompts)
    each_run(group, [&](attention_run const& run) {
      attended const result =
          attention_call(settings_, by_head(of(run.own, q)), by_head(seen(run, k)), by_head(seen(run, v))).forward();
      of(run.own, output).copy_(by_token(result.output));
      log_sums_.push_back(result.log_sum);
    });
  return output;
}

shared_prompt_attention::gradients shared_prompt_attention::backward(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                                     at::Tensor const& v, at::Tensor const& output) const {
  timed const scope(phase::attention);
  scope.count(8 * visible_pairs(segments_->prompts) * static_cast<double>(q.size(1) * q.size(2)));
  gradients total = of_keys(g, q, k, v, output);
  if (settings_.sinks.defined()) total.sinks = sink_gradient(g, output);
  return total;
}

shared_prompt_attention::gradients shared_prompt_attention::of_keys(at::Tensor const& g, at::Tensor const& q, at::Tensor const& k,
                                                                    at::Tensor const& v, at::Tensor const& output) const {
  gradients total;
  if (goes_fast(q)) {
    host_ops::attention_backward(segments_->runs, settings_, g, q, k, v, output, log_sums_.front(), total.q, total.k, total.v);
    return total;
  }
  if (segments_->lists.keys.defined()) return varlen_attention_backward(segments_->lists, settings_, g, q, k, v, output, log_sums_);
  total = {at::empty_like(q), at::zeros_like(k), at::zeros_like(v), {}};
  std::size_t next = 0;
  for (shared_prompt const& group : segments_->prompts)
    each_run(group, [&](attention_run const& run) {
      attention_call const made(settings_, by_head(of(run.own, q)), by_head(seen(run, k)), by_head(seen(run, v)));
      gradients const part = made.backward(by_head(of(run.own, g)), {by_head(of(run.own, output)), log_sums_[next++]});
      of(run.own, total.q).copy_(by_token(part.q));
      add_seen(run, by_token(part.k), total.k);
      add_seen(run, by_token(part.v), total.v);
    });
  return total;
}

}  // namespace kedge::llm::ops
