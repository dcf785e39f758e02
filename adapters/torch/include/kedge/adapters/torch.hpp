// SPDX-License-Identifier: Apache-2.0
#pragma once

// LibTorch's logging macros would replace those of test frameworks: CHECK is fenced off.
#pragma push_macro("CHECK")
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#pragma pop_macro("CHECK")

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <kedge/concepts.hpp>
#include <kedge/elementwise.hpp>

namespace kedge {

/// at::Tensor as a tensor. A plain copy of one aliases: use deep_copy. bf16 and fp16 are combined in fp32 and rounded once.
template <>
struct tensor_traits<at::Tensor> {
  static at::Tensor deep_copy(at::Tensor const& x) { return x.detach().clone(); }

  static void axpby(double a, at::Tensor const& x, double b, at::Tensor& y) {
    at::NoGradGuard const no_grad;
    require_same_shape(x, y, "axpby");
    if (at::isReducedFloatingType(y.scalar_type())) {
      at::Tensor sum = x.to(at::kFloat).mul_(a);
      if (b != 0) sum.add_(y.to(at::kFloat), b);
      y.copy_(sum);
    } else if (b == 0) {
      y.copy_(x);
      if (a != 1) y.mul_(a);
    } else {
      if (b != 1) y.mul_(b);
      y.add_(x, a);
    }
  }

  static double dot(at::Tensor const& x, at::Tensor const& y) {
    at::NoGradGuard const no_grad;
    require_same_shape(x, y, "dot");
    return at::dot(x.flatten().to(at::kDouble), y.flatten().to(at::kDouble)).item<double>();
  }

  /// The formula in whole tensors, on their device and in their type; bf16 and fp16 in fp32.
  template <class F, class... Others>
  static void elementwise(F const& f, at::Tensor& y, Others const&... x) {
    at::NoGradGuard const no_grad;
    (require_same_shape(x, y, "elementwise"), ...);
    auto wide = [](at::Tensor const& t) { return at::isReducedFloatingType(t.scalar_type()) ? t.to(at::kFloat) : t; };
    y.copy_(f(wide(y), wide(x)...));
  }

 private:
  static void require_same_shape(at::Tensor const& x, at::Tensor const& y, char const* operation) {
    detail::require(x.sizes() == y.sizes(), operation, ": tensors of ", x.numel(), " and ", y.numel(),
                    " elements; both operands must have the same shape");
  }
};

/// Parameters of a network. One fused call over the pack where the types allow it.
template <>
struct tensor_traits<std::vector<at::Tensor>> {
  using pack = std::vector<at::Tensor>;

  static pack deep_copy(pack const& x) {
    pack copy;
    copy.reserve(x.size());
    for (at::Tensor const& element : x) copy.push_back(kedge::deep_copy(element));
    return copy;
  }

  static void axpby(double a, pack const& x, double b, pack& y) {
    detail::require_same_size(x, y, "axpby");
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i].scalar_type() == y[i].scalar_type() && !at::isReducedFloatingType(y[i].scalar_type())) continue;
      for (std::size_t j = 0; j < x.size(); ++j) kedge::axpby(a, x[j], b, y[j]);
      return;
    }
    at::NoGradGuard const no_grad;
    if (b == 0) {
      at::_foreach_copy_(y, x);
      if (a != 1) at::_foreach_mul_(y, a);
    } else {
      if (b != 1) at::_foreach_mul_(y, b);
      at::_foreach_add_(y, x, a);
    }
  }

  static double dot(pack const& x, pack const& y) {
    detail::require_same_size(x, y, "dot");
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += kedge::dot(x[i], y[i]);
    return sum;
  }

  template <class F, class... Others>
  static void elementwise(F const& f, pack& y, Others const&... x) {
    (detail::require_same_size(x, y, "elementwise"), ...);
    for (std::size_t i = 0; i < y.size(); ++i) kedge::elementwise(f, y[i], x[i]...);
  }
};

/// The pullback of anything that autograd recorded: gradient += Jᵀ cotangent by one backward.
/// shapes  logp: [n], recorded from leaves; cotangent: [n]; gradient: the leaves' shapes
/// cost    one backward pass; called at most once, it releases the graph
class autograd_pullback {
 public:
  autograd_pullback(at::Tensor logp, std::vector<at::Tensor> leaves) : logp_(std::move(logp)), leaves_(std::move(leaves)) {}

  void operator()(std::span<double const> cotangent, std::vector<at::Tensor>& gradient) {
    detail::require(static_cast<std::size_t>(logp_.numel()) == cotangent.size(), "autograd_pullback: ", cotangent.size(),
                    " slopes for ", logp_.numel(), " log-probabilities; pass one each");
    at::Tensor const slopes = at::tensor(at::ArrayRef<double>(cotangent.data(), cotangent.size()), at::kDouble);
    std::vector<at::Tensor> const product =
        torch::autograd::grad({logp_}, leaves_, {slopes.to(logp_.options()).view_as(logp_)});
    kedge::axpby(1, product, 1, gradient);
    logp_.reset();
  }

 private:
  at::Tensor logp_;
  std::vector<at::Tensor> leaves_;
};

// A concept is answered once: asked before this header, it would stay false.
static_assert(tensor<at::Tensor>, "kedge: a type was asked for as a tensor before its adapter; include <kedge/adapters/torch.hpp> first");

}  // namespace kedge
