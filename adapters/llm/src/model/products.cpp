// SPDX-License-Identifier: Apache-2.0
#include <torch/version.h>

#include "gpu_way.hpp"
#include "host_ops.hpp"
#include "launches.hpp"
#include "ops.hpp"
#include "profile.hpp"

// mm and addmm with a type of their result.
#define KEDGE_PRODUCTS_INTO_FP32 (TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 15)

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

// Whether a product of bf16 is fp32 in one call, or added to fp32: no sum is rounded on the way. Where a GPU's way is tried on the host, another
// product stands in for the call.
bool multiplies_into_fp32(at::Tensor const& x) {
  return x.scalar_type() == at::kBFloat16 && goes_gpu_way(x.device()) && (KEDGE_PRODUCTS_INTO_FP32 || x.is_cpu());
}

// onto + x y, x and y of bf16.
at::Tensor plus_product(at::Tensor const& onto, at::Tensor const& x, at::Tensor const& y) {
#if KEDGE_PRODUCTS_INTO_FP32
  if (x.is_cuda()) return at::addmm(onto, x, y, at::kFloat);
#endif
  at::Tensor out = at::empty_like(onto);
  launch_mark const mark("kedge::product_and_sum_in_fp32", {onto, x, y, out});
  return at::addmm_out(out, onto, x.to(at::kFloat), y.to(at::kFloat));
}

// The same in place.
void add_product(at::Tensor& onto, at::Tensor const& x, at::Tensor const& y) {
#if KEDGE_PRODUCTS_INTO_FP32
  if (x.is_cuda()) {
    at::addmm_out(onto, onto, x, y, at::kFloat);
    return;
  }
#endif
  launch_mark const mark("kedge::product_and_sum_in_fp32", {onto, x, y, onto});
  onto.addmm_(x.to(at::kFloat), y.to(at::kFloat));
}

}  // namespace

at::ScalarType stream_type(at::Tensor const& weight) {
  return host_ops::multiplies_by(weight) ? at::kFloat : weight.scalar_type();
}

at::Tensor wide(at::Tensor const& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

at::Tensor converted(at::Tensor const& x, at::ScalarType type) {
  auto const fits = [](at::ScalarType t) { return t == at::kFloat || t == at::kBFloat16; };
  return x.is_cpu() && !goes_gpu_way(x.device()) && fits(x.scalar_type()) && fits(type) ? host_ops::converted(x, type) : x.to(type);
}

at::Tensor linear(at::Tensor const& x, at::Tensor const& weight) {
  timed_product const scope(x, weight);
  if (!goes_fast(x, weight)) return at::mm(x, weight.t());
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  host_ops::multiply(out, x, weight.t());
  return out;
}

void linear_out(at::Tensor& out, at::Tensor const& x, at::Tensor const& weight) {
  timed_product const scope(x, weight);
  at::mm_out(out, x, weight.t());
}

at::Tensor affine(at::Tensor const& x, at::Tensor const& weight, at::Tensor const& bias) {
  if (!goes_gpu_way(x.device()) || bias.scalar_type() != x.scalar_type()) return ops::linear(x, weight).add_(bias);
  timed_product const scope(x, weight);
  return at::addmm(bias, x, weight.t());
}

at::Tensor linear_wide(at::Tensor const& x, at::Tensor const& weight) {
  if (!multiplies_into_fp32(x)) return wide(ops::linear(x, weight));
  timed_product const scope(x, weight);
#if KEDGE_PRODUCTS_INTO_FP32
  if (x.is_cuda()) return at::mm(x, weight.t(), at::kFloat);
#endif
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  launch_mark const mark("kedge::product_in_fp32", {x, weight, out});
  return at::mm_out(out, x.to(at::kFloat), weight.t().to(at::kFloat));
}

at::Tensor linear_onto(at::Tensor const& residual, at::Tensor const& x, at::Tensor const& weight) {
  timed_product const scope(x, weight);
  if (goes_fast(x, weight) && host_ops::takes(residual)) {
    at::Tensor out = at::empty_like(residual);
    host_ops::multiply(out, x, weight.t(), residual);
    return out;
  }
  if (residual.scalar_type() == x.scalar_type()) return at::addmm(residual, x, weight.t());
  if (multiplies_into_fp32(x) && residual.scalar_type() == at::kFloat) return plus_product(residual, x, weight.t());
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
  else if (multiplies_into_fp32(x) && accumulator.scalar_type() == at::kFloat)
    add_product(accumulator, g.t(), x);
  else
    accumulator.add_(at::mm(g.t(), x));
}

}  // namespace kedge::llm::ops
