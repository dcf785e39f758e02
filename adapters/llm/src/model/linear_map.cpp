// SPDX-License-Identifier: Apache-2.0
#include "linear_map.hpp"

#include "ops.hpp"

namespace kedge::llm {
namespace {

using product = at::Tensor (*)(at::Tensor const& x, at::Tensor const& weight);

// z = W x + s (B A x + b_B)
at::Tensor before_lengths(linear_map const& map, at::Tensor const& x, product by) {
  at::Tensor z = by(x, map.weight);
  if (map.a.defined()) z.add_(by(ops::linear(x, map.a), map.b), map.scale);
  if (map.bias_of_b.defined()) z.add_(map.bias_of_b, map.scale);
  return z;
}

at::Tensor with_lengths_and_bias(linear_map const& map, at::Tensor z) {
  if (map.magnitude.defined()) z.mul_(at::div(ops::wide(map.magnitude), map.length));
  if (map.bias.defined()) z.add_(map.bias);
  return z;
}

// The gradient of z from that of the output.
at::Tensor through_lengths(linear_map const& map, at::Tensor const& g) {
  return map.magnitude.defined() ? at::mul(g, at::div(ops::wide(map.magnitude), map.length)).to(g.scalar_type()) : g;
}

void add_sums(at::Tensor& gradient, at::Tensor const& g, double scale) {
  if (gradient.defined()) gradient.add_(g.sum(0, /*keepdim=*/false, gradient.scalar_type()), scale);
}

}  // namespace

linear_map linear_map::outputs(std::int64_t begin, std::int64_t size) const {
  auto const rows = [&](at::Tensor const& t) { return t.defined() ? t.narrow(0, begin, size) : t; };
  auto const columns = [&](at::Tensor const& t) { return t.defined() ? t.narrow(1, begin, size) : t; };
  return {rows(weight), rows(bias), a, rows(b), scale, rows(bias_of_b), columns(magnitude), columns(length)};
}

at::Tensor row_lengths(at::Tensor const& weight, at::Tensor const& a, at::Tensor const& b, double scale) {
  return at::addmm(ops::wide(weight), ops::wide(b), ops::wide(a), 1, scale).norm(2, 1).unsqueeze(0);
}

at::Tensor apply(linear_map const& map, at::Tensor const& x) { return with_lengths_and_bias(map, before_lengths(map, x, ops::linear)); }

at::Tensor apply_wide(linear_map const& map, at::Tensor const& x) { return with_lengths_and_bias(map, before_lengths(map, x, ops::linear_wide)); }

void add_weight_gradients(linear_map& gradient, linear_map const& map, at::Tensor const& g, at::Tensor const& x) {
  if (gradient.weight.defined()) ops::add_weight_gradient(gradient.weight, g, ops::operand(x, map.weight));
  if (!gradient.a.defined()) return;
  if (gradient.magnitude.defined())
    gradient.magnitude.add_(at::mul(g, before_lengths(map, x, ops::linear)).sum(0, /*keepdim=*/true, gradient.magnitude.scalar_type()).div_(map.length));
  at::Tensor const of_z = through_lengths(map, g);
  ops::add_weight_gradient(gradient.b, of_z, ops::operand(ops::linear(x, map.a).mul_(map.scale), map.b));
  ops::add_weight_gradient(gradient.a, ops::input_gradient(of_z, map.b).mul_(map.scale), ops::operand(x, map.a));
}

void add_gradients(linear_map& gradient, linear_map const& map, at::Tensor const& g, at::Tensor const& x) {
  add_weight_gradients(gradient, map, g, x);
  add_sums(gradient.bias, g, 1);
  add_sums(gradient.bias_of_b, g, map.scale);
}

at::Tensor input_gradient(linear_map const& map, at::Tensor const& g, at::Tensor sum) {
  at::Tensor const of_z = through_lengths(map, g);
  if (sum.defined())
    ops::add_input_gradient(sum, of_z, map.weight);
  else
    sum = ops::input_gradient(of_z, map.weight);
  if (map.a.defined()) ops::add_input_gradient(sum, ops::input_gradient(of_z, map.b).mul_(map.scale), map.a);
  return sum;
}

at::Tensor merged(linear_map const& map) {
  if (!map.a.defined()) return map.weight;
  auto const exact = [](at::Tensor const& t) { return t.to(at::kDouble); };
  at::Tensor sum = at::addmm(exact(map.weight), exact(map.b), exact(map.a), 1, map.scale);
  if (map.magnitude.defined()) sum.mul_(at::div(exact(map.magnitude).t(), sum.norm(2, 1, /*keepdim=*/true)));
  return sum.to(map.weight.scalar_type());
}

at::Tensor look_up(linear_map const& embedding, at::Tensor const& tokens) {
  at::Tensor x = embedding.weight.index_select(0, tokens);
  if (embedding.a.defined()) x.add_(at::mm(embedding.a.index_select(1, tokens).t(), embedding.b.t()), embedding.scale);
  if (embedding.magnitude.defined()) x.mul_(at::div(ops::wide(embedding.magnitude), embedding.length));
  return x;
}

void add_look_up_gradients(linear_map& gradient, linear_map const& embedding, at::Tensor const& tokens, at::Tensor const& g) {
  if (gradient.weight.defined()) gradient.weight.index_add_(0, tokens, g.to(gradient.weight.scalar_type()));
  if (!gradient.a.defined()) return;
  at::ScalarType const type = gradient.a.scalar_type();
  at::Tensor const chosen = embedding.a.index_select(1, tokens).to(type), b = embedding.b.to(type);
  if (gradient.magnitude.defined()) {
    linear_map plain = embedding;
    plain.magnitude = at::Tensor();
    gradient.magnitude.add_(at::mul(g, look_up(plain, tokens)).sum(0, /*keepdim=*/true, type).div_(embedding.length));
  }
  at::Tensor const of_z = through_lengths(embedding, g).to(type);
  gradient.b.addmm_(of_z.t(), chosen.t(), 1, embedding.scale);
  gradient.a.index_add_(1, tokens, at::mm(of_z, b).t(), embedding.scale);
}

}  // namespace kedge::llm
