// SPDX-License-Identifier: Apache-2.0
#include "linear_map.hpp"

#include <algorithm>
#include <utility>

#include "fp8.hpp"
#include "gpu_way.hpp"
#include "host_ops.hpp"
#include "ops.hpp"
#include "side_by_side.hpp"

namespace kedge::llm {
namespace {

using product = at::Tensor (*)(at::Tensor const& x, at::Tensor const& weight);

// x Wᵀ and g W.
at::Tensor times_weight(linear_map const& map, at::Tensor const& x, product by) {
  if (map.stored.defined()) return map.stored.linear(x);
  return map.goes_fp8(x) ? fp8::linear(x, map.weight) : by(x, map.weight);
}
at::Tensor back_through_weight(linear_map const& map, at::Tensor const& g) {
  if (map.stored.defined()) return map.stored.input_gradient(g);
  return map.goes_fp8(g) ? fp8::input_gradient(g, map.weight) : ops::input_gradient(g, map.weight);
}

// z = W x becomes W x + s (B A x + b_B).
void add_adapter_(at::Tensor& z, linear_map const& map, at::Tensor const& x, product by) {
  if (map.a.defined()) z.add_(by(ops::linear(x, map.a), map.b), map.scale);
  if (map.bias_of_b.defined()) z.add_(map.bias_of_b, map.scale);
}

at::Tensor before_lengths(linear_map const& map, at::Tensor const& x, product by) {
  at::Tensor z = times_weight(map, x, by);
  add_adapter_(z, map, x, by);
  return z;
}

void lengthen_(at::Tensor& z, linear_map const& map) {
  if (map.magnitude.defined()) z.mul_(at::div(ops::wide(map.magnitude), map.length));
}

at::Tensor with_lengths_and_bias(linear_map const& map, at::Tensor z) {
  lengthen_(z, map);
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
  return {rows(weight), rows(bias), a, rows(b), scale, rows(bias_of_b), columns(magnitude), columns(length), fp8,
          stored.defined() ? stored.part(begin, size) : stored};
}

bool linear_map::goes_fp8(at::Tensor const& rows) const { return fp8 && weight.defined() && fp8::takes(rows, weight); }

at::ScalarType linear_map::stream_type() const { return stored.defined() ? stored.stream_type() : ops::stream_type(weight); }

at::Tensor row_lengths(at::Tensor const& weight, at::Tensor const& a, at::Tensor const& b, double scale) {
  return at::addmm(ops::wide(weight), ops::wide(b), ops::wide(a), 1, scale).norm(2, 1).unsqueeze(0);
}

namespace {

// f(first row, its rows as numbers), some rows at a time.
template <class F>
void each_piece(quantised_matrix const& weight, at::ScalarType type, F const& f) {
  std::int64_t const at_once = std::max<std::int64_t>(1, (std::int64_t{1} << 22) / std::max<std::int64_t>(1, weight.in()));
  for (std::int64_t begin = 0; begin < weight.out(); begin += at_once) f(begin, weight.dense(begin, std::min(at_once, weight.out() - begin), type));
}

}  // namespace

at::Tensor row_lengths(quantised_matrix const& weight, at::Tensor const& a, at::Tensor const& b, double scale) {
  std::vector<at::Tensor> parts;
  each_piece(weight, wide_type(weight), [&](std::int64_t begin, at::Tensor const& w) { parts.push_back(row_lengths(w, a, b.narrow(0, begin, w.size(0)), scale)); });
  return at::cat(parts, 1);
}

at::Tensor row_lengths(quantised_matrix const& weight) {
  std::vector<at::Tensor> parts;
  each_piece(weight, wide_type(weight), [&](std::int64_t, at::Tensor const& w) { parts.push_back(w.norm(2, 1).unsqueeze(0)); });
  return at::cat(parts, 1);
}

at::Tensor apply_onto(at::Tensor const& residual, linear_map const& map, at::Tensor const& x) {
  at::Tensor sum = map.stored.defined() ? map.stored.linear(x, residual) : ops::linear_onto(residual, x, map.weight);
  return map.bias.defined() ? sum.add_(map.bias) : sum;
}

at::Tensor operand(at::Tensor const& x, linear_map const& map) {
  if (!map.stored.defined()) return ops::operand(x, map.weight);
  bool const rounds = x.is_cpu() && map.stored.type() == at::kBFloat16 && host_ops::rounds_operands();
  return rounds ? ops::converted(x, at::kBFloat16) : x;
}

at::Tensor apply(linear_map const& map, at::Tensor const& x) {
  if (map.plain() && map.bias.defined() && map.weight.defined() && !map.goes_fp8(x)) return ops::affine(x, map.weight, map.bias);
  return with_lengths_and_bias(map, before_lengths(map, x, ops::linear));
}

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

namespace {

void add_adapter_input_gradient(linear_map const& map, at::Tensor const& of_z, at::Tensor& sum) {
  if (map.a.defined()) ops::add_input_gradient(sum, ops::input_gradient(of_z, map.b).mul_(map.scale), map.a);
}

}  // namespace

at::Tensor input_gradient(linear_map const& map, at::Tensor const& g, at::Tensor sum) {
  at::Tensor const of_z = through_lengths(map, g);
  if (!sum.defined())
    sum = back_through_weight(map, of_z);
  else if (map.stored.defined())
    sum = map.stored.input_gradient(of_z, sum);
  else if (map.goes_fp8(of_z))
    sum.add_(back_through_weight(map, of_z));
  else
    ops::add_input_gradient(sum, of_z, map.weight);
  add_adapter_input_gradient(map, of_z, sum);
  return sum;
}

namespace {

using part = at::Tensor linear_map::*;

// A tensor of all maps as one, along a dimension.   none: they have none of it
at::Tensor joined_part(std::vector<linear_map> const& maps, part which, std::int64_t dimension, bool& all_or_none) {
  std::vector<at::Tensor> parts;
  bool none = true;
  for (linear_map const& map : maps) {
    parts.push_back(map.*which);
    none = none && !(map.*which).defined();
  }
  at::Tensor whole = side_by_side(parts, dimension);
  all_or_none = all_or_none && (none || whole.defined());
  return whole;
}

// A is the same for all parts of a map that is stored as one.
bool same_factor(std::vector<linear_map> const& maps) {
  for (linear_map const& map : maps)
    if (map.a.defined() != maps.front().a.defined() || map.scale != maps.front().scale || (map.a.defined() && !map.a.is_same(maps.front().a))) return false;
  return true;
}

}  // namespace

joint_maps::joint_maps(std::initializer_list<linear_map> maps) : each_(maps), complete_(same_factor(each_)) {
  constexpr std::pair<part, std::int64_t> parts[] = {{&linear_map::weight, 0},    {&linear_map::bias, 0},      {&linear_map::b, 0},
                                                     {&linear_map::bias_of_b, 0}, {&linear_map::magnitude, 1}, {&linear_map::length, 1}};
  for (auto const& [which, dimension] : parts) whole_.*which = joined_part(each_, which, dimension, complete_);
  whole_.a = each_.front().a;
  whole_.scale = each_.front().scale;
  whole_.fp8 = each_.front().fp8;
}

std::vector<at::Tensor> joint_maps::apply(at::Tensor const& x) const {
  std::vector<at::Tensor> out;
  bool const stored = std::any_of(each_.begin(), each_.end(), [](linear_map const& map) { return map.stored.defined(); });
  if (!goes_gpu_way(x.device()) || stored) {
    for (linear_map const& map : each_) out.push_back(llm::apply(map, x));
    return out;
  }
  std::int64_t width = 0, begin = 0;
  for (linear_map const& map : each_) width += map.weight.size(0);
  bool const one = whole_.weight.defined(), finished = one && complete_;
  at::Tensor const all = finished ? llm::apply(whole_, x)
                         : one    ? times_weight(whole_, x, ops::linear)
                                  : at::empty({x.size(0), width}, x.options().dtype(ops::stream_type(each_.front().weight)));
  for (linear_map const& map : each_) {
    at::Tensor& y = out.emplace_back(all.narrow(1, begin, map.weight.size(0)));
    begin += map.weight.size(0);
    if (finished) continue;
    if (!one && map.goes_fp8(x))
      y.copy_(times_weight(map, x, ops::linear));
    else if (!one)
      ops::linear_out(y, x, map.weight);
    add_adapter_(y, map, x, ops::linear);
    y = with_lengths_and_bias(map, y);
  }
  return out;
}

joint_maps::output_gradients joint_maps::joined(std::vector<at::Tensor> each) const {
  if (!goes_gpu_way(each.front().device()) || !whole_.weight.defined()) return {std::move(each), {}};
  at::Tensor all = side_by_side(each, 1);
  if (!all.defined()) all = at::cat(each, 1);
  return {std::move(each), std::move(all)};
}

void joint_maps::add_gradients(joint_maps& into, output_gradients const& g, at::Tensor const& x) const {
  if (g.all.defined() && complete_ && into.complete_) return llm::add_gradients(into.whole_, whole_, g.all, x);
  bool const one = g.all.defined() && into.whole_.weight.defined();
  if (one) ops::add_weight_gradient(into.whole_.weight, g.all, ops::operand(x, whole_.weight));
  for (std::size_t i = 0; i < each_.size(); ++i) {
    linear_map rest = into.each_[i];
    if (one) rest.weight = at::Tensor();
    llm::add_gradients(rest, each_[i], g.each[i], x);
  }
}

at::Tensor joint_maps::input_gradient(output_gradients const& g) const {
  if (g.all.defined() && complete_) return llm::input_gradient(whole_, g.all);
  at::Tensor sum;
  bool const one = g.all.defined() && std::none_of(each_.begin(), each_.end(), [](linear_map const& map) { return map.magnitude.defined(); });
  if (one) sum = back_through_weight(whole_, g.all);
  for (std::size_t i = 0; i < each_.size(); ++i) {
    if (one)
      add_adapter_input_gradient(each_[i], g.each[i], sum);
    else
      sum = llm::input_gradient(each_[i], g.each[i], sum);
  }
  return sum;
}

at::Tensor merged(linear_map const& map) {
  if (!map.a.defined()) return map.stored.defined() ? map.stored.dense(wide_type(map.stored)) : map.weight;
  auto const exact = [](at::Tensor const& t) { return t.to(at::kDouble); };
  at::Tensor const weight = map.stored.defined() ? map.stored.dense(wide_type(map.stored)) : map.weight;
  at::Tensor sum = at::addmm(exact(weight), exact(map.b), exact(map.a), 1, map.scale);
  if (map.magnitude.defined()) sum.mul_(at::div(exact(map.magnitude).t(), sum.norm(2, 1, /*keepdim=*/true)));
  return sum.to(weight.scalar_type());
}

at::Tensor look_up(linear_map const& embedding, at::Tensor const& tokens) {
  at::Tensor x = embedding.stored.defined() ? embedding.stored.look_up(tokens) : embedding.weight.index_select(0, tokens);
  if (embedding.a.defined()) x.add_(at::mm(embedding.a.index_select(1, tokens).t(), embedding.b.t()), embedding.scale);
  if (embedding.magnitude.defined()) x.mul_(at::div(ops::wide(embedding.magnitude), embedding.length));
  return x;
}

void add_look_up_gradients(linear_map& gradient, linear_map const& embedding, at::Tensor const& tokens, at::Tensor const& g) {
  if (gradient.weight.defined()) {
    at::Tensor const wide = g.to(gradient.weight.scalar_type());
    if (g.is_cuda())
      gradient.weight.index_put_({tokens}, wide, /*accumulate=*/true);  // in a fixed order, which index_add_ has not
    else
      gradient.weight.index_add_(0, tokens, wide);
  }
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
