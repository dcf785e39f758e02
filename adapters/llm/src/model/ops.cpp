// SPDX-License-Identifier: Apache-2.0
#include "ops.hpp"

#include <string_view>

#include <torch/version.h>

#include "host_ops.hpp"
#include "launches.hpp"
#include "profile.hpp"

namespace kedge::llm::ops {

namespace {

// Whether the processor's kernels multiply these; they give fp32.
bool goes_fast(at::Tensor const& x, at::Tensor const& y) { return host_ops::multiplies_by(x) && host_ops::multiplies_by(y); }

// Of a product of rows with a matrix of a weight's size.
struct timed_product : timed {
  timed_product(at::Tensor const& rows, at::Tensor const& weight) : timed(phase::products), part("products") {
    count(2.0 * static_cast<double>(rows.size(0)) * static_cast<double>(weight.numel()));
  }
  section part;
};

// Of norms, rotations and gates.
struct timed_activation : timed {
  explicit timed_activation(char const* name) : timed(phase::activations), part(name) {}
  section part;
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
  timed_activation const scope("norms");
  if (centred) x = host_ops::takes(x) ? host_ops::centred(x) : at::sub(x, x.mean(-1, /*keepdim=*/true));
  inverse_rms = host_ops::takes(x) ? host_ops::inverse_rms(x, eps) : at::rsqrt(x.square().mean(-1, /*keepdim=*/true).add_(eps));
}

rms_norm rms_norm::none(at::Tensor input) {
  rms_norm norm;
  norm.x = std::move(input);
  return norm;
}

at::Tensor rms_norm::output(at::Tensor const& weight) const {
  timed_activation const scope("norms");
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
  timed_activation const scope("norms");
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
  timed_activation const scope("gate");
  return goes_fast(gate) && goes_fast(up) ? host_ops::gated(act, gate, up) : activated(act, gate).mul_(up);
}

gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up) {
  timed_activation const scope("gate");
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
  timed_activation const scope("rotation");
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

}  // namespace kedge::llm::ops
