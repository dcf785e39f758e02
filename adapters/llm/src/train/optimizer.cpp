// SPDX-License-Identifier: Apache-2.0
#include "optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "../base/thread_pool.hpp"
#include "../kernels/kernels.hpp"
#include "../model/profile.hpp"

namespace kedge::llm {
namespace {

// The plain twins of what the kernels do to moments. ---------------------------------------------------------------------------------

constexpr std::int64_t low_bits = 0xffff'ffff;
constexpr std::int64_t block = moment_block;
static_assert(adam_block == moment_block);

// random_bits of every element, as 64-bit numbers.
at::Tensor random_of(at::Tensor const& like, std::uint32_t seed) {
  at::Tensor x = at::arange(like.numel(), like.options().dtype(at::kLong)).bitwise_xor_(std::int64_t{seed});
  auto const fold = [&](std::int64_t shift) { x.bitwise_xor_(x.bitwise_right_shift(shift)); };
  fold(16);
  x.mul_(std::int64_t{mixing}).bitwise_and_(low_bits);
  fold(15);
  x.mul_(std::int64_t{mixing}).bitwise_and_(low_bits);
  fold(16);
  return x.view_as(like);
}

at::Tensor code_of(std::array<line, code_lines> const& lines, at::Tensor const& x) {
  at::Tensor least = at::mul(x, lines[0].a);
  for (std::size_t i = 1; i < code_lines; ++i) least = at::minimum(least, at::mul(x, lines[i].a).add_(lines[i].b));
  return least;
}

at::Tensor number_of(std::array<line, code_lines> const& lines, at::Tensor const& code) {
  at::Tensor largest = at::div(code, lines[0].a);
  for (std::size_t i = 1; i < code_lines; ++i) largest = at::maximum(largest, at::sub(code, lines[i].b).div_(lines[i].a));
  return largest;
}

// Each block's number at each of its elements.
at::Tensor spread(at::Tensor const& scales, at::Tensor const& like) {
  return scales.repeat_interleave(block).narrow(0, 0, like.numel()).view_as(like);
}

at::Tensor largest_of_blocks(at::Tensor const& x) {
  at::Tensor const flat = x.flatten();
  return at::constant_pad_nd(flat, {0, (block - flat.numel() % block) % block}).view({-1, block}).amax(1);
}

at::Tensor over(at::Tensor const& x, at::Tensor const& scale) { return at::where(scale > 0, at::div(x, scale), at::zeros_like(x)); }

at::Tensor zeros_of(at::Tensor const& t, moment_type moments) {
  return at::zeros(t.sizes(), t.options().dtype(moments == moment_type::same ? t.scalar_type() : moments == moment_type::bf16 ? at::kBFloat16 : at::kByte));
}

void read(at::Tensor const& first, at::Tensor const& second, at::Tensor const& first_scale, at::Tensor const& second_scale, at::Tensor& m, at::Tensor& v) {
  if (first.scalar_type() != at::kByte) {
    bool const shorter = first.scalar_type() == at::kBFloat16;
    m = shorter ? first.to(at::kFloat) : first;  // else what is done to m and v is done
    v = shorter ? second.to(at::kFloat) : second;
    return;
  }
  at::Tensor const codes = first.to(at::kInt);
  m = number_of(signed_lines, codes.bitwise_and(0x7f).to(at::kFloat)).mul_(spread(first_scale, first));
  m = at::where(codes >= 0x80, m.neg(), m);
  v = number_of(unsigned_lines, second.to(at::kFloat)).mul_(spread(second_scale, second)).square_();
}

void write_bf16(at::Tensor& first, at::Tensor& second, at::Tensor const& m, at::Tensor const& v, std::uint32_t seed) {
  first.copy_(m);
  at::Tensor const bits = v.view(at::kInt).to(at::kLong).add_(random_of(v, seed).bitwise_and_(0xffff)).bitwise_and_(~std::int64_t{0xffff});
  second.copy_(bits.to(at::kInt).view(at::kFloat));  // exactly
}

void write_codes(at::Tensor& first, at::Tensor& second, at::Tensor& first_scale, at::Tensor& second_scale, at::Tensor const& m, at::Tensor const& v,
                 std::uint32_t seed) {
  at::Tensor const root = v.sqrt(), size = m.abs();
  first_scale.copy_(largest_of_blocks(size));
  second_scale.copy_(largest_of_blocks(root));
  at::Tensor const size_code = code_of(signed_lines, over(size, spread(first_scale, size))).add_(0.5).floor_().clamp_max_(127);
  first.copy_(size_code.add_(at::signbit(m).to(at::kFloat), 0x80));
  at::Tensor const dither = random_of(v, seed).bitwise_right_shift(8).to(at::kFloat).mul_(0x1p-24);
  at::Tensor const code = code_of(unsigned_lines, over(root, spread(second_scale, root))).add_(dither).floor_().clamp_max_(255);
  second.copy_(at::maximum(code, (root > 0).to(at::kFloat)));  // nothing positive becomes 0, by which a step would be divided
}

}  // namespace

pack zeros_like(pack const& theta) {
  pack zeros;
  zeros.reserve(theta.size());
  for (at::Tensor const& t : theta) zeros.push_back(at::zeros_like(t));
  return zeros;
}

adamw::adamw(pack const& theta, settings settings) : settings_(settings) {
  for (at::Tensor const& t : theta) {
    first.push_back(zeros_of(t, settings.moments));
    second.push_back(zeros_of(t, settings.moments));
    if (settings.moments != moment_type::bits8) continue;
    first_scale.push_back(at::zeros({(t.numel() + block - 1) / block}, t.options().dtype(at::kFloat)));
    second_scale.push_back(at::zeros_like(first_scale.back()));
  }
}

void adamw::step_group(pack& theta, pack const& gradient, bool matrices, double learning_rate) {
  pack p, g, m, v;
  for (std::size_t i = 0; i < theta.size(); ++i) {
    if ((theta[i].dim() > 1) != matrices) continue;
    p.push_back(theta[i]);
    g.push_back(gradient[i]);
    m.push_back(first[i]);
    v.push_back(second[i]);
  }
  if (p.empty()) return;
  pack const count(p.size(), at::full({}, static_cast<double>(steps), p.front().options().dtype(at::kFloat)));
  at::_fused_adamw_(p, g, m, v, {}, count, learning_rate, settings_.beta1, settings_.beta2,
                    matrices ? settings_.weight_decay : 0, settings_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

bool adamw::fast(pack const& theta, pack const& gradient, pack const& copies) const {
  auto const fits = [](at::Tensor const& t, at::ScalarType type) { return t.is_cpu() && t.scalar_type() == type && t.is_contiguous(); };
  for (std::size_t i = 0; i < theta.size(); ++i)
    if (!fits(theta[i], at::kFloat) || !fits(gradient[i], at::kFloat) || (!copies.empty() && !fits(copies[i], at::kBFloat16))) return false;
  return true;
}

void adamw::step_fast(at::Tensor& theta, at::Tensor const& gradient, at::Tensor const& copy, std::size_t i, adam_numbers const& numbers) {
  auto const moved = [](at::Tensor const& t, std::size_t elements) { return static_cast<char*>(t.mutable_data_ptr()) + elements * t.element_size(); };
  auto const n = static_cast<std::size_t>(theta.numel()), blocks = (n + moment_block - 1) / moment_block;
  bool const coded = settings_.moments == moment_type::bits8;
  constexpr std::size_t worth_a_thread = 512;  // blocks
  shared_pool().divide(blocks, worth_a_thread, [&](std::size_t begin, std::size_t end) {
    std::size_t const from = begin * moment_block, to = std::min(n, end * moment_block);
    adam_range const range{theta.mutable_data_ptr<float>() + from, gradient.mutable_data_ptr<float>() + from, moved(first[i], from), moved(second[i], from),
                           coded ? first_scale[i].mutable_data_ptr<float>() + begin : nullptr, coded ? second_scale[i].mutable_data_ptr<float>() + begin : nullptr,
                           copy.defined() ? reinterpret_cast<std::uint16_t*>(copy.mutable_data_ptr()) + from : nullptr, to - from, from};
    adam_kernels const& adam = kernels().adam;
    auto const step = settings_.moments == moment_type::same ? adam.step_fp32 : settings_.moments == moment_type::bf16 ? adam.step_bf16 : adam.step_bits8;
    step(range, numbers);
  });
}

void adamw::step_plain(at::Tensor& theta, at::Tensor const& gradient, std::size_t i, adam_numbers const& numbers) {
  at::Tensor const none;
  bool const coded = settings_.moments == moment_type::bits8;
  at::Tensor m, v;
  read(first[i], second[i], coded ? first_scale[i] : none, coded ? second_scale[i] : none, m, v);
  at::Tensor const g = gradient.to(m.scalar_type());
  m.add_(at::sub(g, m), 1 - numbers.beta1);
  v.mul_(numbers.beta2).addcmul_(g, g, 1 - numbers.beta2);
  theta.mul_(numbers.decay).addcdiv_(m, v.sqrt().mul_(numbers.root).add_(numbers.epsilon), -numbers.rate);
  if (coded)
    write_codes(first[i], second[i], first_scale[i], second_scale[i], m, v, numbers.seed);
  else if (settings_.moments == moment_type::bf16)
    write_bf16(first[i], second[i], m, v, numbers.seed);
}

void adamw::step(pack& theta, pack const& gradient, double learning_rate, extras const& more) {
  at::NoGradGuard const no_grad;
  timed const scope(phase::optimizer);
  ++steps;
  auto const t = static_cast<double>(steps);
  auto const numbers_of = [&](std::size_t i) -> adam_numbers {
    double const decay = theta[i].dim() > 1 ? 1 - learning_rate * settings_.weight_decay : 1;
    auto const f = [](double x) { return static_cast<float>(x); };
    return {f(decay), f(learning_rate / (1 - std::pow(settings_.beta1, t))), f(1 / std::sqrt(1 - std::pow(settings_.beta2, t))), f(settings_.beta1), f(settings_.beta2),
            f(settings_.epsilon), f(more.scale), random_bits(static_cast<std::uint32_t>(steps), static_cast<std::uint32_t>(i)), more.zero_gradient};
  };
  if (fast(theta, gradient, more.copies)) {
    for (std::size_t i = 0; i < theta.size(); ++i) step_fast(theta[i], gradient[i], more.copies.empty() ? at::Tensor() : more.copies[i], i, numbers_of(i));
    return;
  }
  pack scaled = gradient;
  if (more.scale != 1 && more.zero_gradient)
    at::_foreach_mul_(scaled, more.scale);  // it is not needed any more
  else if (more.scale != 1)
    scaled = at::_foreach_mul(gradient, more.scale);
  auto const in_a_row = [](at::Tensor const& t) { return t.is_contiguous(); };
  if (settings_.moments == moment_type::same && std::all_of(theta.begin(), theta.end(), in_a_row) && std::all_of(gradient.begin(), gradient.end(), in_a_row)) {
    step_group(theta, scaled, true, learning_rate);
    step_group(theta, scaled, false, learning_rate);
  } else {
    for (std::size_t i = 0; i < theta.size(); ++i) step_plain(theta[i], scaled[i], i, numbers_of(i));
  }
  if (more.zero_gradient) at::_foreach_zero_(gradient);
  if (!more.copies.empty()) at::_foreach_copy_(more.copies, theta);
}

double norm_of(pack const& gradient) {
  at::NoGradGuard const no_grad;
  timed const scope(phase::optimizer);
  return at::stack(at::_foreach_norm(gradient, 2)).norm().item<double>();
}

double clip_scale(double norm, double max_norm) { return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1; }

}  // namespace kedge::llm
