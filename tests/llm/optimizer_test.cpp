// SPDX-License-Identifier: Apache-2.0

// AdamW in one pass and in tensor operations, with moments of 32, 16 and 8 bits.

#include <algorithm>
#include <cmath>

#include <kedge/adapters/torch.hpp>

#include "../adapters/llm/src/train/optimizer.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;

namespace {

// A matrix, a vector, and a matrix whose elements end within a block and a register.
pack parameters_of_some_kinds(at::ScalarType type) {
  at::manual_seed(1);
  return {at::randn({64, 48}).to(type), at::randn({300}).to(type), at::randn({7, 101}).to(type)};
}

pack gradient_of_step(int step, at::ScalarType type) {
  pack g = parameters_of_some_kinds(at::kFloat);
  at::manual_seed(100 + static_cast<std::uint64_t>(step));
  for (at::Tensor& t : g) t = at::randn_like(t).mul_(at::randn_like(t).exp_()).mul_(1e-3).to(type);
  return g;
}

double largest_difference(pack const& a, pack const& b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, (a[i].to(at::kDouble) - b[i].to(at::kDouble)).abs().max().item<double>());
  return most;
}

double mean_difference(pack const& a, pack const& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i].to(at::kDouble) - b[i].to(at::kDouble)).abs().mean().item<double>();
  return sum / static_cast<double>(a.size());
}

// A layout that the one-pass loop doesn't take.
pack transposed(pack const& values) {
  pack other;
  for (at::Tensor const& t : values) other.push_back(t.dim() > 1 ? t.t().contiguous().t() : at::stack({t, t}, 1).select(1, 0));
  return other;
}

// Of the first tensor, whose rows are blocks.
at::Tensor second_moments(adamw const& optimizer) {
  at::Tensor const stored = optimizer.second.front().to(at::kDouble);
  if (optimizer.second_scale.empty()) return stored;
  at::Tensor const decade = at::log2(stored + 1).floor(), codes = at::exp2(decade);
  at::Tensor const root = at::pow(10, decade - 7) * (0.1 + (stored + 1 - codes) * 0.9 / codes);
  return (root * optimizer.second_scale.front().to(at::kDouble).unsqueeze(1)).square();
}

adamw::settings settings_of(moment_type moments) { return {.weight_decay = 0.1, .moments = moments}; }

pack after_steps(pack theta, moment_type moments, int steps, bool plain) {
  if (plain) theta = transposed(theta);
  adamw optimizer(theta, settings_of(moments));
  for (int step = 0; step < steps; ++step) optimizer.step(theta, gradient_of_step(step, theta.front().scalar_type()), 1e-2);
  return theta;
}

}  // namespace

TEST_CASE("one pass and tensor operations take the steps of fp64 to fp32 rounding", "[optimizer]") {
  pack const exact = after_steps(parameters_of_some_kinds(at::kDouble), moment_type::same, 20, false);
  for (bool const plain : {false, true})
    CHECK(largest_difference(after_steps(parameters_of_some_kinds(at::kFloat), moment_type::same, 20, plain), exact) < 3e-6);
}

TEST_CASE("a step scales its gradient first and leaves it zero and copies what it made", "[optimizer]") {
  for (moment_type const moments : {moment_type::same, moment_type::bf16, moment_type::bits8})
    for (bool const plain : {false, true}) {
      pack theta = parameters_of_some_kinds(at::kFloat), other = parameters_of_some_kinds(at::kFloat), copies, gradient, scaled;
      if (plain) {
        theta = transposed(theta);
        other = transposed(other);
      }
      for (at::Tensor const& t : theta) copies.push_back(t.to(at::kBFloat16).contiguous());
      adamw all(theta, settings_of(moments)), apart(other, settings_of(moments));
      for (int step = 0; step < 3; ++step) {
        gradient = gradient_of_step(step, at::kFloat);
        scaled = at::_foreach_mul(gradient, 0.25);
        all.step(theta, gradient, 1e-2, {.scale = 0.25, .zero_gradient = true, .copies = copies});
        apart.step(other, scaled, 1e-2);
        for (at::Tensor const& g : gradient) CHECK_FALSE(g.any().item<bool>());
      }
      CHECK(largest_difference(theta, other) == 0);
      for (std::size_t i = 0; i < theta.size(); ++i) CHECK(at::equal(copies[i], theta[i].to(at::kBFloat16)));
    }
}

TEST_CASE("short moments are the same in one pass and in tensor operations", "[optimizer]") {
  for (moment_type const moments : {moment_type::bf16, moment_type::bits8}) {
    pack const fast = after_steps(parameters_of_some_kinds(at::kFloat), moments, 10, false),
               plain = after_steps(parameters_of_some_kinds(at::kFloat), moments, 10, true);
    // Element numbers differ with the layout, and with them how moments are rounded; not by more than that.
    CHECK(mean_difference(fast, plain) < 2e-3);
    pack theta = parameters_of_some_kinds(at::kFloat), same = parameters_of_some_kinds(at::kFloat);
    pack const first = gradient_of_step(0, at::kFloat);
    adamw a(theta, settings_of(moments)), b(same, settings_of(moments));
    a.step(theta, first, 1e-2);
    pack contiguous_but_double = same;
    for (at::Tensor& t : contiguous_but_double) t = t.to(at::kDouble);
    b.step(contiguous_but_double, first, 1e-2);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      CHECK((a.first[i].to(at::kFloat) != b.first[i].to(at::kFloat)).to(at::kFloat).mean().item<double>() < 0.01);
      CHECK((a.second[i].to(at::kFloat) != b.second[i].to(at::kFloat)).to(at::kFloat).mean().item<double>() < 0.01);
    }
  }
}

TEST_CASE("short moments steer near where fp32 moments do", "[optimizer]") {
  pack const start = parameters_of_some_kinds(at::kFloat), exact = after_steps(parameters_of_some_kinds(at::kFloat), moment_type::same, 50, false);
  double const way = mean_difference(exact, start);
  CHECK(mean_difference(after_steps(parameters_of_some_kinds(at::kFloat), moment_type::bf16, 50, false), exact) < 0.02 * way);
  CHECK(mean_difference(after_steps(parameters_of_some_kinds(at::kFloat), moment_type::bits8, 50, false), exact) < 0.1 * way);
}

TEST_CASE("second moments of bf16 and 8 bits follow a gradient that becomes small", "[optimizer]") {
  for (moment_type const moments : {moment_type::bf16, moment_type::bits8})
    for (bool const plain : {false, true}) {
      INFO(static_cast<int>(moments) << plain);
      pack theta{at::zeros({16, 256})};
      if (plain) theta = transposed(theta);
      adamw optimizer(theta, settings_of(moments));
      pack const large{at::ones({16, 256})}, small{at::full({16, 256}, 0.1)};
      small[0].select(1, 0).fill_(1);  // the scale of each block stays
      for (int step = 0; step < 100; ++step) optimizer.step(theta, large, 0);
      for (int step = 0; step < 700; ++step) optimizer.step(theta, small, 0);
      double const kept = std::pow(0.999, 700), expected = (1 - std::pow(0.999, 100)) * kept + 0.01 * (1 - kept);
      at::Tensor const v = second_moments(optimizer).narrow(1, 1, 255);
      // What is rounded to nearest stays where a step changes it by less than half of what the format resolves.
      CHECK(v.mean().item<double>() == Approx(expected).epsilon(0.02));
    }
}

TEST_CASE("moments take the bytes that their names say", "[optimizer]") {
  pack const theta{at::zeros({64, 256})};
  auto const bytes = [&](moment_type moments) {
    adamw const optimizer(theta, settings_of(moments));
    std::size_t sum = 0;
    for (pack const* part : {&optimizer.first, &optimizer.second, &optimizer.first_scale, &optimizer.second_scale})
      for (at::Tensor const& t : *part) sum += t.nbytes();
    return sum;
  };
  CHECK(bytes(moment_type::same) == 8 * 64 * 256);
  CHECK(bytes(moment_type::bf16) == 4 * 64 * 256);
  CHECK(bytes(moment_type::bits8) == 2 * 64 * 256 + 8 * 64);
}
