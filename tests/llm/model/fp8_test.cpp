// SPDX-License-Identifier: Apache-2.0

// Products in 8 bits: what their rounding allows, element by element, and what they are not taken for.

#include <cmath>
#include <limits>
#include <vector>

#include "llm/model/plain_model.hpp"

#include "../adapters/llm/src/model/fp8.hpp"
#include "../adapters/llm/src/model/gpu_way.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

constexpr at::ScalarType activations = at::kFloat8_e4m3fn, gradients = at::kFloat8_e5m2;

// Half a unit in the last place of a number of 3 or 2 bits after the point, and half the distance of its smallest ones.
struct rounding {
  double relative, least;
};
constexpr rounding rounding_of(at::ScalarType type) { return type == activations ? rounding{0x1p-4, 0x1p-10} : rounding{0x1p-3, 0x1p-17}; }

at::Tensor exactly(at::Tensor const& x) { return x.to(at::kDouble); }
at::Tensor exactly(fp8::scaled const& x) { return exactly(x.numbers).mul(exactly(x.scale)); }

// By how much each number of x may move.
at::Tensor movement(at::Tensor const& x, at::ScalarType type) {
  auto const [relative, least] = rounding_of(type);
  double const scale = fp8::narrowed(x, type).scale.item<double>();
  return at::maximum(exactly(x).abs() * relative, at::full({}, scale * least, at::kDouble));
}

at::Tensor random(std::initializer_list<std::int64_t> shape, int seed, double size) {
  at::manual_seed(static_cast<std::uint64_t>(seed));
  return at::randn(shape, at::kDouble).mul_(at::randn(shape, at::kDouble).exp_()).mul_(size).to(at::kBFloat16);
}

void check_within(at::Tensor const& difference, at::Tensor const& allowed) { CHECK((difference.abs() <= allowed).all().item<bool>()); }

// a bᵀ by 8 bits against fp64: |Σ âb̂ − Σ ab| ≤ Σ (δa |b| + |a| δb + δa δb), and roundings of n sums in fp32 and of the result to bf16.
void check_product(at::Tensor const& measured, at::Tensor const& a, at::ScalarType type_a, at::Tensor const& b, at::ScalarType type_b) {
  at::Tensor const x = exactly(a), y = exactly(b), dx = movement(a, type_a), dy = movement(b, type_b);
  at::Tensor const expected = at::mm(x, y.t()), sizes = at::mm(x.abs() + dx, (y.abs() + dy).t());
  at::Tensor const allowed = at::mm(dx, y.abs().t()) + at::mm(x.abs(), dy.t()) + at::mm(dx, dy.t());
  auto const terms = static_cast<double>(x.size(1));
  CHECK(measured.scalar_type() == at::kBFloat16);
  check_within(exactly(measured) - expected, allowed + sizes * (terms * 0x1p-24 + 0x1p-8));
  CHECK((exactly(measured) - expected).norm().item<double>() > 1e-3 * expected.norm().item<double>());  // it did go through 8 bits
}

}  // namespace

TEST_CASE("a number in 8 bits moves by half a unit of its last place at most and scales are the least powers of two", "[fp8]") {
  for (at::ScalarType const type : {activations, gradients})
    for (double const size : {1.0, 448.0, 57344.0, 3e-30, 1e30, 0.1}) {
      at::Tensor const x = random({37, 48}, 1, size);
      fp8::scaled const narrow = fp8::narrowed(x, type);
      CHECK(narrow.numbers.scalar_type() == type);
      check_within(exactly(narrow) - exactly(x), movement(x, type));
      double const scale = narrow.scale.item<double>(), most = exactly(x).abs().max().item<double>(), largest = type == activations ? 448 : 57344;
      int exponent = 0;
      CHECK(std::frexp(scale, &exponent) == 0.5);
      CHECK(most / scale <= largest);
      CHECK(most / scale > largest / 2);
    }
}

TEST_CASE("numbers that 8 bits have come back whatever the scale", "[fp8]") {
  at::Tensor const all = at::arange(256, at::kByte);
  for (at::ScalarType const type : {activations, gradients}) {
    at::Tensor const every = exactly(all.view(type)), finite = every.masked_select(every.isfinite());
    for (double const power : {1.0, 0x1p-90, 0x1p100}) {
      at::Tensor const x = (finite * power).to(at::kBFloat16);
      REQUIRE(at::equal(exactly(x), finite * power));
      CHECK(at::equal(exactly(fp8::narrowed(x, type)), exactly(x)));
    }
  }
}

TEST_CASE("zeros stay zeros, the largest and the smallest numbers are kept, and one that isn't finite spoils the product", "[fp8]") {
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  at::Tensor const w = random({16, 32}, 2, 1), zeros = at::zeros({3, 32}, at::kBFloat16);
  CHECK(fp8::linear(zeros, w).eq(0).all().item<bool>());
  CHECK(fp8::linear(random({3, 32}, 3, 1), at::zeros_like(w)).eq(0).all().item<bool>());
  for (double const size : {std::ldexp(1.9921875, 127), 0x1p-126, 0x1p-133}) {
    at::Tensor const x = at::full({3, 32}, size, at::kBFloat16);
    CHECK_THAT(exactly(fp8::narrowed(x, activations)).max().item<double>(), WithinRel(size, size < 0x1p-126 ? 0.5 : 0x1p-4));
  }
  for (double const bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    at::Tensor x = random({3, 32}, 4, 1), g = random({3, 16}, 5, 1);
    x[1][7] = bad;
    g[2][3] = bad;
    CHECK(fp8::linear(x, w).isnan().all().item<bool>());
    CHECK(fp8::input_gradient(g, w).isnan().all().item<bool>());
  }
}

TEST_CASE("products in 8 bits are as near to those of fp64 as their rounding allows", "[fp8]") {
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  for (double const size : {1.0, 0.37, 1e-6, 1e8}) {
    at::Tensor const x = random({37, 96}, 6, size), w = random({48, 96}, 7, 0.02), g = random({37, 48}, 8, 1e-4 * size);
    check_product(fp8::linear(x, w), x, activations, w, activations);
    check_product(fp8::input_gradient(g, w), g, gradients, w.t(), activations);
  }
}

TEST_CASE("what tensor cores refuse in 8 bits goes another way", "[fp8]") {
  auto const bf16 = [](std::int64_t rows, std::int64_t columns) { return at::zeros({rows, columns}, at::kBFloat16); };
  CHECK_FALSE(fp8::takes(bf16(5, 32), bf16(16, 32)));  // on the host by itself
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  CHECK(fp8::takes(bf16(5, 32), bf16(16, 32)));
  CHECK_FALSE(fp8::takes(bf16(5, 24), bf16(16, 24)));
  CHECK_FALSE(fp8::takes(bf16(5, 32), bf16(24, 32)));
  CHECK_FALSE(fp8::takes(bf16(0, 32), bf16(16, 32)));
  CHECK_FALSE(fp8::takes(bf16(5, 32).to(at::kFloat), bf16(16, 32)));
  CHECK_FALSE(fp8::takes(bf16(5, 32), bf16(16, 32).to(at::kFloat)));
}

namespace {

// Sides of all linear maps are multiples of 16.
transformer_config wide_enough() {
  transformer_config config = plain::tiny_config(true);
  config.hidden = 48;
  config.intermediate = 64;
  config.heads = 3;
  config.kv_heads = 1;
  config.head_dim = 16;
  return config;
}

pack exactly(pack const& values) {
  pack wide;
  for (at::Tensor const& t : values) wide.push_back(exactly(t));
  return wide;
}

struct step_of {
  double loss = 0;  // the mean of −log-probability over sequences
  pack gradient;
};

step_of step(causal_lm const& model, pack const& theta, ragged_batch const& batch) {
  pack const weights = model.weights_for(theta);
  auto [logp, back] = model.forward(weights, batch);
  step_of result{0, plain::zeros_like(theta)};
  for (double const one : logp) result.loss -= one / static_cast<double>(logp.size());
  back(std::vector<double>(logp.size(), -1 / static_cast<double>(logp.size())), result.gradient);
  return result;
}

double norm_of(pack const& values) {
  double squares = 0;
  for (at::Tensor const& t : values) squares += std::pow(exactly(t).norm().item<double>(), 2);
  return std::sqrt(squares);
}

double relative_distance(pack const& a, pack const& b) {
  pack difference;
  for (std::size_t i = 0; i < a.size(); ++i) difference.push_back(exactly(a[i]) - exactly(b[i]));
  return norm_of(difference) / norm_of(b);
}

}  // namespace

TEST_CASE("a model whose layers multiply in 8 bits has the gradient that their rounding allows and trains as in bf16", "[fp8]") {
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  transformer_config const config = wide_enough();
  causal_lm const exact(config, {.type = at::kDouble}), bf16(config, {.type = at::kBFloat16}), eight(config, {.type = at::kBFloat16, .fp8 = true});
  auto const pairs = plain::random_pairs(6, config.vocabulary, 3);
  std::vector<std::size_t> const all{0, 1, 2, 3, 4, 5};
  ragged_batch const batch = pack_pairs(pairs, all);
  pack theta = plain::random_parameters(config, at::kFloat, 9);
  for (at::Tensor& t : theta)
    if (t.dim() > 1) t.mul_(0.4);  // as wide a spread as layers of this size bear
  step_of const best = step(exact, exactly(theta), batch), narrow = step(bf16, theta, batch), narrowest = step(eight, theta, batch);
  // An operand's numbers move by at most 2⁻⁴, in root mean square by 2⁻⁴/√3, a product's two operands by √2 of that; errors of the 7 products of each layer
  // and of the 7 on the way back are independent.
  double const allowed = 0x1p-4 / std::sqrt(3.0) * std::sqrt(2.0 * 2 * 7 * static_cast<double>(config.layers));
  double const of_bf16 = relative_distance(narrow.gradient, best.gradient), of_fp8 = relative_distance(narrowest.gradient, best.gradient);
  INFO("gradients are off by " << of_bf16 << " in bf16 and " << of_fp8 << " in 8 bits");
  CHECK(of_fp8 < allowed);
  CHECK(of_fp8 > 2 * of_bf16);  // 8 bits it was
  CHECK_THAT(narrowest.loss, WithinRel(best.loss, allowed / std::sqrt(static_cast<double>(batch.tokens.size()))));  // a mean over tokens

  std::vector<double> ends;
  for (causal_lm const* model : {&bf16, &eight}) {
    pack trained = kedge::deep_copy(theta);
    for (int i = 0; i < 30; ++i) {
      step_of const now = step(*model, trained, batch);
      double const norm = norm_of(now.gradient);
      for (std::size_t k = 0; k < trained.size(); ++k) trained[k].add_(now.gradient[k], -0.3 / norm);
    }
    ends.push_back(step(exact, exactly(trained), batch).loss);
  }
  INFO("from " << best.loss << " to " << ends[0] << " in bf16 and " << ends[1] << " in 8 bits");
  CHECK(ends[0] < 0.7 * best.loss);
  CHECK_THAT(ends[1], WithinRel(ends[0], 0.1));
}

TEST_CASE("a model of other sides multiplies in bf16 as if it weren't asked for 8 bits", "[fp8]") {
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  transformer_config const config = plain::tiny_config(false);
  pack const theta = plain::random_parameters(config, at::kFloat, 10);
  auto const pairs = plain::random_pairs(3, config.vocabulary, 4);
  std::vector<std::size_t> const all{0, 1, 2};
  ragged_batch const batch = pack_pairs(pairs, all);
  step_of const bf16 = step(causal_lm(config, {.type = at::kBFloat16}), theta, batch), eight = step(causal_lm(config, {.type = at::kBFloat16, .fp8 = true}), theta, batch);
  CHECK(eight.loss == bf16.loss);
  CHECK(relative_distance(eight.gradient, bf16.gradient) == 0);
}

TEST_CASE("which sequences share a batch changes products in 8 bits hardly at all", "[fp8]") {
  // Scales are powers of two: a number is rounded alike under all of them, but for those that are thousands of times smaller than the largest.
  gpu_way_on_host const there(gpu_way_on_host::by::plain_operations);
  at::Tensor const w = random({32, 64}, 11, 0.05), x = random({40, 64}, 12, 1), few = x.narrow(0, 3, 9);
  at::Tensor const together = fp8::linear(at::cat({x, x * 5}), w).narrow(0, 3, 9), alone = fp8::linear(few, w);
  CHECK((exactly(together) - exactly(alone)).norm().item<double>() < 1e-3 * exactly(alone).norm().item<double>());
}
