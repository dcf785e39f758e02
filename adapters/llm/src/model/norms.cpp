// SPDX-License-Identifier: Apache-2.0
#include <tuple>
#include <utility>

#include "gpu_ops.hpp"
#include "host_ops.hpp"
#include "launches.hpp"
#include "ops.hpp"
#include "profile.hpp"

namespace kedge::llm::ops {

void residual_stream::add(at::Tensor y, double by) {
  sum();
  if (waits_for_norms(y)) {
    waiting = std::move(y);
    scale = by;
  } else
    x = at::add(x, y, by);
}

bool residual_stream::waits_for_norms(at::Tensor const& y) const {
  return gpu_ops::takes(x) && gpu_ops::takes(y) && x.scalar_type() == at::kFloat && x.is_contiguous();
}

at::Tensor const& residual_stream::sum() {
  if (waiting.defined()) x = at::add(x, std::exchange(waiting, {}), scale);
  return x;
}

residual_stream residual_stream::rows(at::Tensor const& index) const {
  return {x.index_select(0, index), waiting.defined() ? waiting.index_select(0, index) : at::Tensor(), scale};
}

namespace {

// A weight as the kernels and LibTorch's fused norms of a GPU take it.
bool is_weight(at::Tensor const& weight) { return gpu_ops::takes(weight) && weight.dim() == 1 && weight.is_contiguous(); }

// Whether LibTorch's own fused norms stand in for kernels that aren't there.
bool by_fused_norms(rms_norm const& norm) { return norm.x.is_cuda() && !norm.centred && norm.x.scalar_type() == at::kFloat; }

at::Tensor with_offset(at::Tensor const& weight, double offset, at::ScalarType type) {
  at::Tensor const w = weight.to(type);
  return offset == 0 ? w : at::add(w, offset);
}

}  // namespace

rms_norm::rms_norm(at::Tensor input, double of_eps, double weight_offset, norm_kind kind)
    : x(std::move(input)), eps(of_eps), offset(weight_offset), centred(kind == norm_kind::layer) {
  timed const scope(phase::activations);
  section const part("norms");
  if (centred) x = host_ops::takes(x) ? host_ops::centred(x) : at::sub(x, x.mean(-1, /*keepdim=*/true));
  inverse_rms = host_ops::takes(x) ? host_ops::inverse_rms(x, eps) : at::rsqrt(x.square().mean(-1, /*keepdim=*/true).add_(eps));
}

rms_norm rms_norm::none(at::Tensor input) {
  rms_norm norm;
  norm.x = std::move(input);
  return norm;
}

bool rms_norm::on_gpu(at::Tensor const& weight) const {
  return !centred && gpu_ops::takes(x) && x.scalar_type() == at::kFloat && x.is_contiguous() && is_weight(weight);
}

at::Tensor rms_norm::output(at::Tensor const& weight) const {
  timed const scope(phase::activations);
  section const part("norms");
  if (on_gpu(weight)) return gpu_ops::norm(x, {}, 1, weight, offset, eps).out;
  if (by_fused_norms(*this))
    return std::get<0>(at::_fused_rms_norm(x, {x.size(-1)}, with_offset(weight, offset, at::kFloat), eps)).to(weight.scalar_type());
  if (host_ops::takes(x) && host_ops::multiplies_by(weight))
    return host_ops::scale(x, inverse_rms, weight.to(at::kFloat), offset);
  at::Tensor normalised = at::mul(x, inverse_rms);
  if (offset != 0) return normalised.mul_(weight.to(x.scalar_type()) + offset).to(weight.scalar_type());
  return normalised.to(weight.scalar_type()).mul_(weight);
}

at::Tensor rms_norm::backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& weight_gradient, at::ScalarType type) const {
  at::Tensor gx = at::zeros_like(x), narrowed;
  add_backward(g, weight, gx, weight_gradient, narrowed, type);
  return narrowed.defined() ? narrowed : gx.to(type);
}

void rms_norm::add_backward(at::Tensor const& g, at::Tensor const& weight, at::Tensor& gx, at::Tensor& weight_gradient, at::Tensor& narrowed,
                            at::ScalarType type) const {
  narrowed = at::Tensor();
  timed const scope(phase::activations);
  section const part("norms");
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
  bool const sums = !weight_gradient.defined() || (weight_gradient.scalar_type() == at::kFloat && weight_gradient.is_contiguous());
  if (on_gpu(weight) && gpu_ops::takes(g) && gx.is_contiguous() && sums) {
    narrowed = type == gx.scalar_type() ? gx : at::empty(gx.sizes(), gx.options().dtype(type));
    return gpu_ops::norm_backward(g, x, inverse_rms, weight, offset, gx, narrowed, weight_gradient);
  }
  if (by_fused_norms(*this)) {
    auto const [of_x, of_weight] = at::_fused_rms_norm_backward(wide(g).contiguous(), x, {x.size(-1)}, inverse_rms, with_offset(weight, offset, at::kFloat),
                                                                {true, weight_gradient.defined()});
    gx.add_(of_x);
    if (weight_gradient.defined()) weight_gradient.add_(of_weight);
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

at::Tensor normalised(residual_stream& stream, norm_settings const& settings, at::Tensor const& weight, at::Tensor const& bias, at::ScalarType type,
                      rms_norm& kept) {
  if (!weight.defined()) {
    kept = rms_norm::none(stream.sum());
    return kept.output(weight, bias, type);
  }
  if (settings.kind == norm_kind::rms && gpu_ops::takes(stream.x) && stream.x.scalar_type() == at::kFloat && stream.x.is_contiguous() && is_weight(weight)) {
    timed const scope(phase::activations);
    section const part("norms");
    gpu_ops::normed made = gpu_ops::norm(stream.x, stream.waiting, stream.scale, weight, settings.weight_offset, settings.eps);
    stream = {made.sum, {}, 1};
    kept = rms_norm::none(std::move(made.sum));
    kept.inverse_rms = std::move(made.inverse_rms);
    kept.eps = settings.eps;
    kept.offset = settings.weight_offset;
    return bias.defined() ? made.out.add_(bias) : made.out;
  }
  kept = rms_norm(stream.sum(), settings.eps, settings.weight_offset, settings.kind);
  return kept.output(weight, bias, type);
}

}  // namespace kedge::llm::ops
