// SPDX-License-Identifier: Apache-2.0
#include "ops.hpp"

#include <string_view>

#include "gpu_ops.hpp"
#include "host_ops.hpp"
#include "launches.hpp"
#include "profile.hpp"
#include "side_by_side.hpp"

namespace kedge::llm::ops {

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
  section const part("gate");
  if (at::Tensor const both = side_by_side({gate, up}, 1); gpu_ops::takes(both)) return gpu_ops::gated(act, both);
  return goes_fast(gate) && goes_fast(up) ? host_ops::gated(act, gate, up) : activated(act, gate).mul_(up);
}

gated_gradients gated_backward(activation act, at::Tensor const& g, at::Tensor const& gate, at::Tensor const& up) {
  timed const scope(phase::activations);
  section const part("gate");
  if (at::Tensor const both = side_by_side({gate, up}, 1); gpu_ops::takes(both) && gpu_ops::takes(g)) {
    auto const [of_both, inner] = gpu_ops::gated_backward(act, g, both);
    return {of_both.narrow(1, 0, gate.size(1)), of_both.narrow(1, gate.size(1), up.size(1)), inner};
  }
  if (goes_fast(g) && goes_fast(gate) && goes_fast(up)) {
    gated_gradients result;
    host_ops::gated_backward(act, g, gate, up, result.gate, result.up);
    return result;
  }
  return {activated_backward(act, at::mul(g, up), gate), activated(act, gate).mul_(g), {}};
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

void rotation::turn_(at::Tensor const& x, double direction) const {
  timed const scope(phase::activations);
  section const part("rotation");
  if (gpu_ops::takes(x) && gpu_ops::takes(cosine)) return gpu_ops::rotate_(x, cosine, sine, direction, interleaved);
  if (goes_fast(x)) return host_ops::rotate(x, cosine, sine, direction, interleaved);
  std::int64_t const half = cosine.size(-1);
  at::Tensor const turning = x.narrow(-1, 0, 2 * half), wide = turning.to(cosine.scalar_type());
  auto const part_of = [&](at::Tensor const& of, std::int64_t which) {
    return interleaved ? of.slice(-1, which, 2 * half, 2) : of.narrow(-1, which * half, half);
  };
  at::Tensor const left = part_of(wide, 0), right = part_of(wide, 1), turned = at::empty_like(wide);
  at::Tensor out_left = part_of(turned, 0), out_right = part_of(turned, 1);
  at::mul_out(out_left, left, cosine).addcmul_(right, sine, -direction);
  at::mul_out(out_right, right, cosine).addcmul_(left, sine, direction);
  turning.copy_(turned);
}

void rotation::turn_(at::Tensor const& q, at::Tensor const& k, double direction) const {
  if (at::Tensor const both = side_by_side({q, k}, 1); gpu_ops::takes(both)) return turn_(both, direction);
  turn_(q, direction);
  turn_(k, direction);
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
