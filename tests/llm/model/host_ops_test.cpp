// SPDX-License-Identifier: Apache-2.0

// The processor's kernels against their plain twins: what ops compute in fp32 or bf16 here is held to what they compute in fp64, where there
// is only the plain way.

#include <cmath>
#include <random>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include "../adapters/llm/src/model/host_ops.hpp"
#include "../adapters/llm/src/model/ops.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

at::Tensor random(std::vector<std::int64_t> const& shape, int seed) {
  std::mt19937 engine(static_cast<unsigned>(seed));
  std::normal_distribution<double> normal;
  at::Tensor x = at::empty(shape, at::kDouble);
  double* const data = x.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < x.numel(); ++i) data[i] = normal(engine);
  return x;
}

double distance(at::Tensor const& x, at::Tensor const& exact) {
  return (x.to(at::kDouble) - exact).norm().item<double>() / exact.norm().item<double>();
}

at::Tensor single(at::Tensor const& x) { return x.to(at::kFloat); }

}  // namespace

TEST_CASE("products of any shape and layout are those of fp64 rounded", "[host]") {
  struct shape {
    std::int64_t rows, out, in;
  };
  for (auto const [rows, out, in] : {shape{1, 1, 1}, shape{13, 53, 24}, shape{9, 48, 100}, shape{70, 130, 801}, shape{1100, 50, 33}})
    for (at::ScalarType const type : {at::kFloat, at::kBFloat16}) {
      INFO(rows << " x " << in << " times " << in << " x " << out << ", weights in " << at::toString(type));
      at::Tensor const x = single(random({rows, in}, 1)), g = single(random({rows, out}, 2)), start = single(random({rows, in}, 3));
      at::Tensor const weight = random({out, in}, 4).to(type), wide = weight.to(at::kDouble);
      // Where products round their operands, those are what the exact product takes.
      at::Tensor const of_x = ops::operand(x, weight).to(at::kDouble), of_g = ops::operand(g, weight).to(at::kDouble);
      CHECK(distance(ops::linear(x, weight), at::mm(of_x, wide.t())) < 1e-6);
      CHECK(distance(ops::linear_wide(x, weight), at::mm(of_x, wide.t())) < 1e-6);
      CHECK(distance(ops::input_gradient(g, weight), at::mm(of_g, wide)) < 1e-6);
      at::Tensor onto = start.clone();
      ops::add_input_gradient(onto, g, weight);
      CHECK(distance(onto, start.to(at::kDouble) + at::mm(of_g, wide)) < 1e-6);
      at::Tensor const residual = single(random({rows, out}, 5));
      CHECK(distance(ops::linear_onto(residual, x, weight), residual.to(at::kDouble) + at::mm(of_x, wide.t())) < 1e-6);
      at::Tensor sum = at::ones({out, in}, at::kFloat);
      ops::add_weight_gradient(sum, g, ops::operand(x, weight));
      CHECK(distance(sum, 1 + at::mm(of_g.t(), of_x)) < 1e-6);
    }
}

TEST_CASE("products of no rows are empty or add nothing", "[host]") {
  at::Tensor const weight = single(random({50, 33}, 4)), none = at::empty({0, 33}, at::kFloat), no_gradient = at::empty({0, 50}, at::kFloat);
  CHECK(ops::linear(none, weight).sizes() == at::IntArrayRef({0, 50}));
  CHECK(ops::input_gradient(no_gradient, weight).sizes() == at::IntArrayRef({0, 33}));
  at::Tensor sum = at::ones({50, 33}, at::kFloat);
  ops::add_weight_gradient(sum, no_gradient, none);
  CHECK(at::equal(sum, at::ones({50, 33}, at::kFloat)));
}

TEST_CASE("a product does not depend on how many rows and columns are computed with it", "[host]") {
  at::Tensor const x = single(random({100, 900}, 6)), weight = single(random({200, 900}, 7));
  for (at::Tensor const& w : {weight, weight.to(at::kBFloat16)}) {
    at::Tensor const whole = ops::linear(x, w);
    CHECK(at::equal(whole.narrow(0, 31, 1), ops::linear(x.narrow(0, 31, 1), w)));
    CHECK(at::equal(whole.narrow(1, 50, 60), ops::linear(x, w.narrow(0, 50, 60))));
  }
}

TEST_CASE("norms and their gradients are those of fp64 rounded", "[host]") {
  for (std::int64_t const hidden : {24, 64, 577})
    for (double const offset : {0.0, 1.0}) {
      at::Tensor const x = random({130, hidden}, 8), weight = random({hidden}, 9), g = random({130, hidden}, 10), start = random({130, hidden}, 11);
      ops::rms_norm const exact(x, 1e-5, offset), norm(single(x), 1e-5, offset);
      CHECK(distance(norm.output(single(weight)), exact.output(weight)) < 1e-6);
      at::Tensor gx = start.clone(), gw = at::ones({hidden}, at::kDouble), fast_gx = single(start).clone(), fast_gw = at::ones({hidden}, at::kFloat);
      exact.add_backward(g, weight, gx, gw);
      norm.add_backward(single(g), single(weight), fast_gx, fast_gw);
      CHECK(distance(fast_gx, gx) < 1e-6);
      CHECK(distance(fast_gw, gw) < 1e-6);
    }
}

TEST_CASE("gates and rotations and the softmax are those of fp64 rounded", "[host]") {
  at::Tensor const gate = 3 * random({37, 45}, 12), up = random({37, 45}, 13), g = random({37, 45}, 14);
  CHECK(distance(ops::gated(activation::silu, single(gate), single(up)), ops::gated(activation::silu, gate, up)) < 1e-6);
  auto const exact = ops::gated_backward(activation::silu, g, gate, up);
  auto const fast = ops::gated_backward(activation::silu, single(g), single(gate), single(up));
  CHECK(distance(fast.gate, exact.gate) < 1e-6);
  CHECK(distance(fast.up, exact.up) < 1e-6);

  at::Tensor const positions = at::arange(37), frequencies = at::rand({5});
  ops::rotation const wide(positions, frequencies, at::kDouble), narrow(positions, frequencies, at::kFloat);
  at::Tensor const x = random({37, 3, 10}, 15);
  CHECK(distance(narrow.forward(single(x)), wide.forward(x.clone())) < 1e-6);
  CHECK(distance(narrow.backward(single(x)), wide.backward(x.clone())) < 1e-6);

  at::Tensor scores = 20 * random({7, 1003}, 16), rounded = single(scores).clone();
  at::Tensor const log_sums = ops::softmax_(rounded), exact_sums = ops::softmax_(scores);
  CHECK(distance(rounded, scores) < 1e-5);
  CHECK((log_sums - exact_sums).abs().max().item<double>() < 1e-5);

  at::Tensor const drawn = 3 * random({7, 1003}, 17), targets = at::arange(7), best = drawn.argmax(-1);
  targets[2] = best[2];
  for (at::ScalarType const type : {at::kDouble, at::kFloat}) {
    at::Tensor once = drawn.to(type).clone(), again = once.clone(), logits = once.clone();
    ops::distribution const all = ops::distribution_(once, targets);
    CHECK(at::equal(all.log_sum, ops::softmax_(again)));
    CHECK(at::equal(once, again));
    at::Tensor const p = at::softmax(drawn, -1);
    CHECK(distance(all.entropy.squeeze(-1), -(p * p.log()).sum(-1)) < 1e-6);
    CHECK(distance(all.mean.squeeze(-1), drawn.mean(-1)) < 1e-6);
    CHECK(at::equal(all.likeliest.squeeze(-1), at::eq(best, targets).to(type)));
    logits[2][999] = logits[2].max();  // the first one counts
    CHECK(ops::distribution_(logits, targets).likeliest[2].item<double>() == (best[2].item<std::int64_t>() < 999 ? 1 : 0));
  }
}

TEST_CASE("attention over shared prompts and its gradients are those of fp64 rounded", "[host]") {
  // Longer than a block of queries, without a prompt, with an empty completion, with four completions, with a prefix, with nothing else.
  ops::attention_segments const segments{{{0, 5, {3, 4}}, {12, 0, {7}}, {19, 70, {90, 65}}, {244, 9, {1, 0, 2, 30}}, {286, 3, {4, 80}, {19, 40}}, {373, 0, {6, 5}, {19, 70}}}};
  std::int64_t const tokens = 373 + 11, heads = 6, kv_heads = 2, d = 10;
  at::Tensor const q = random({tokens, heads, d}, 17), k = random({tokens, kv_heads, d}, 18), v = random({tokens, kv_heads, d}, 19),
                   g = random({tokens, heads, d}, 20);
  for (std::int64_t const window : {0, 400, 20}) {
    ops::attention_settings const settings{.scale = 0.4, .soft_cap = 0, .window = window};
    ops::shared_prompt_attention exact(segments, settings), fast(segments, settings);
    at::Tensor const out = exact.forward(q, k, v), fast_out = fast.forward(single(q), single(k), single(v));
    CHECK(distance(fast_out, out) < 1e-6);
    auto const expected = exact.backward(g, q, k, v, out), measured = fast.backward(single(g), single(q), single(k), single(v), fast_out);
    CHECK(distance(measured.q, expected.q) < 2e-6);
    CHECK(distance(measured.k, expected.k) < 2e-6);
    CHECK(distance(measured.v, expected.v) < 2e-6);
  }
}
