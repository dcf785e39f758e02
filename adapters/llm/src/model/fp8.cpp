// SPDX-License-Identifier: Apache-2.0
#include "fp8.hpp"

#include <cstdint>
#include <limits>

#include "gpu_way.hpp"

namespace kedge::llm::fp8 {
namespace {

// Of the largest number that there is, 1.75 · 2ⁿ: 448 or 57344.
double power_in_largest(at::ScalarType type) { return type == at::kFloat8_e4m3fn ? 0x1p8 : 0x1p15; }

// The smallest power of two p > 0 with x ≤ 1.75 p: what of x is more than that carries into its exponent. Nothing of it is read by the host.
at::Tensor power_of_two_for(at::Tensor const& x) {
  constexpr std::int64_t quarter_less_one = 0x1f'ffff, exponent = 0x7f80'0000;
  return x.view(at::kInt).add(quarter_less_one).bitwise_and_(exponent).view(at::kFloat);
}

// a bᵀ
at::Tensor product(scaled const& a, scaled const& b) {
  if (a.numbers.is_cuda())
    return at::_scaled_mm(a.numbers, b.numbers.t(), a.scale, b.scale, /*bias=*/{}, /*scale_result=*/{}, at::kBFloat16, /*use_fast_accum=*/false);
  at::Tensor const sum = at::mm(a.numbers.to(at::kFloat), b.numbers.to(at::kFloat).t());
  return sum.mul_(a.scale).mul_(b.scale).to(at::kBFloat16);
}

}  // namespace

scaled narrowed(at::Tensor const& x, at::ScalarType type) {
  constexpr double least = std::numeric_limits<float>::min();  // of nothing but zeros, or numbers that are nearly that
  at::Tensor const most = at::linalg_vector_norm(x, std::numeric_limits<double>::infinity(), at::OptionalIntArrayRef(), /*keepdim=*/false, at::kFloat);
  at::Tensor const scale = power_of_two_for(most.mul_(1 / power_in_largest(type)).clamp_min_(least));
  return {at::mul(x, at::reciprocal(scale)).to(type), scale};
}

bool takes(at::Tensor const& x, at::Tensor const& weight) {
  constexpr std::int64_t unit = 16;
  auto const fits = [](at::Tensor const& t) { return t.scalar_type() == at::kBFloat16 && goes_gpu_way(t.device()); };
  return x.dim() == 2 && x.size(0) > 0 && fits(x) && fits(weight) && weight.size(0) % unit == 0 && weight.size(1) % unit == 0;
}

at::Tensor linear(at::Tensor const& x, at::Tensor const& weight) { return product(narrowed(x, at::kFloat8_e4m3fn), narrowed(weight, at::kFloat8_e4m3fn)); }

at::Tensor input_gradient(at::Tensor const& g, at::Tensor const& weight) {
  scaled narrow = narrowed(weight, at::kFloat8_e4m3fn);
  narrow.numbers = narrow.numbers.t().contiguous();  // both operands lie along what is summed
  return product(narrowed(g, at::kFloat8_e5m2), narrow);
}

}  // namespace kedge::llm::fp8
