// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <kedge/adapters/torch.hpp>
#include <kedge/losses.hpp>

namespace {

template <at::ScalarType Type>
struct torch_tensor {
  using tensor = at::Tensor;
  static at::Tensor make(std::vector<double> const& values) { return at::tensor(values, at::kDouble).to(Type); }
  static std::vector<double> values(at::Tensor const& x) {
    at::Tensor const wide = x.to(at::kDouble).contiguous();
    return std::vector<double>(wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel());
  }
  static constexpr double tolerance = Type == at::kDouble ? 1e-15 : 5e-7;
};

}  // namespace

#define KEDGE_BACKENDS torch_tensor<at::kDouble>, torch_tensor<at::kFloat>
#include "conformance/suite.hpp"

static_assert(kedge::tensor<at::Tensor>);
static_assert(kedge::tensor<std::vector<at::Tensor>>);

TEST_CASE("a pack of bf16 tensors is combined in fp32 and rounded once", "[conformance]") {
  std::vector<at::Tensor> x{at::full({3}, 1.0, at::kBFloat16)}, y{at::full({3}, 1.0, at::kBFloat16)};
  kedge::axpby(1.0 / 512, x, 1 - 1.0 / 512, y);  // either product alone would round in bf16
  CHECK(at::equal(y[0], x[0]));
}

TEST_CASE("deep_copy shares nothing and a plain copy aliases", "[conformance]") {
  std::vector<at::Tensor> const x{at::zeros({2})};
  std::vector<at::Tensor> const alias = x, copy = kedge::deep_copy(x);
  x[0].fill_(1);
  CHECK(alias[0].sum().item<double>() == 2);
  CHECK(copy[0].sum().item<double>() == 0);
}

TEST_CASE("one backward gives the gradient that autograd finds through the loss", "[conformance]") {
  at::Tensor const features = at::randn({6, 4}, at::kDouble), theta = at::randn({4}, at::kDouble).requires_grad_();
  auto log_policy = [&] { return features.matmul(theta).log_softmax(0); };
  at::Tensor const logp = log_policy().narrow(0, 0, 2);
  double const margin = (logp[0] - logp[1]).item<double>();
  kedge::pair_slopes const slopes = kedge::dpo{.beta = 0.7}({.logp_chosen = logp[0].item<double>(), .logp_rejected = logp[1].item<double>()});
  std::vector<at::Tensor> gradient{at::zeros({4}, at::kDouble)};
  kedge::autograd_pullback(logp, {theta})(std::vector<double>{slopes.chosen, slopes.rejected}, gradient);
  at::Tensor const again = log_policy();
  at::Tensor const expected = torch::autograd::grad({-at::log_sigmoid(0.7 * (again[0] - again[1]))}, {theta})[0];
  CHECK((gradient[0] - expected).abs().max().item<double>() < 1e-14);
  CHECK(std::abs(slopes.value + std::log(1 / (1 + std::exp(-0.7 * margin)))) < 1e-14);
}
