// SPDX-License-Identifier: Apache-2.0
#include "adamw.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../../base/thread_pool.hpp"
#include "../../kernels/kernels.hpp"
#include "../../model/gpu_way.hpp"
#include "../../model/launches.hpp"

namespace kedge::llm {
namespace {

enum part : std::size_t { first, second, first_scale, second_scale };

kept_moments moments_of(optimizer_state const& state, std::size_t i) {
  auto const tensor = [&](part p) { return p < state.parts.size() ? state.parts[p].values[i] : at::Tensor(); };
  return {tensor(first), tensor(second), tensor(first_scale), tensor(second_scale)};
}

adam_numbers numbers_of(optimizer_settings const& s, std::int64_t steps, optimizer_step const& step, std::size_t i) {
  auto const t = static_cast<double>(steps);
  double const decay = step.theta[i].dim() > 1 ? 1 - step.learning_rate * s.weight_decay : 1;
  auto const f = [](double x) { return static_cast<float>(x); };
  return {f(decay), f(step.learning_rate / (1 - std::pow(s.beta1, t))), f(1 / std::sqrt(1 - std::pow(s.beta2, t))), f(s.beta1), f(s.beta2),
          f(s.epsilon), f(step.scale), random_bits(static_cast<std::uint32_t>(steps), static_cast<std::uint32_t>(i)), step.zero_gradient};
}

// Whether kernels take all tensors: the processor's, or a GPU's.
bool one_pass(optimizer_step const& step) {
  if (step.theta.empty()) return false;
  at::Device const device = step.theta.front().device();
  if (!device.is_cpu() && !goes_gpu_way(device)) return false;
  auto const fits = [&](at::Tensor const& t, at::ScalarType type) { return t.device() == device && t.scalar_type() == type && t.is_contiguous(); };
  for (std::size_t i = 0; i < step.theta.size(); ++i)
    if (!fits(step.theta[i], at::kFloat) || !fits(step.gradient[i], at::kFloat) || (!step.copies.empty() && !fits(step.copies[i], at::kBFloat16))) return false;
  return true;
}

// Tensor i in one pass over memory.
void pass_over(moment_format const& format, kept_moments const& kept, optimizer_step const& step, std::size_t i, adam_numbers const& numbers) {
  auto const moved = [](at::Tensor const& t, std::size_t elements) { return static_cast<char*>(t.mutable_data_ptr()) + elements * static_cast<std::size_t>(t.element_size()); };
  at::Tensor const &theta = step.theta[i], &gradient = step.gradient[i], copy = step.copies.empty() ? at::Tensor() : step.copies[i];
  auto const n = static_cast<std::size_t>(theta.numel()), blocks = adam_blocks(n);
  constexpr std::size_t worth_a_thread = 512;  // blocks
  shared_pool().divide(blocks, worth_a_thread, [&](std::size_t begin, std::size_t end) {
    std::size_t const from = begin * adam_block, to = std::min(n, end * adam_block);
    adam_range const range{theta.mutable_data_ptr<float>() + from, gradient.mutable_data_ptr<float>() + from, moved(kept.first, from), moved(kept.second, from),
                           format.scaled ? kept.first_scale.mutable_data_ptr<float>() + begin : nullptr,
                           format.scaled ? kept.second_scale.mutable_data_ptr<float>() + begin : nullptr,
                           copy.defined() ? reinterpret_cast<std::uint16_t*>(copy.mutable_data_ptr()) + from : nullptr, to - from, from};
    (kernels().adam.*format.one_pass)(range, numbers);
  });
}

gpu_moments format_of(at::Tensor const& moments) {
  switch (moments.scalar_type()) {
    case at::kFloat:
      return gpu_moments::fp32;
    case at::kBFloat16:
      return gpu_moments::bf16;
    default:
      return gpu_moments::bits8;
  }
}

// A list as memory of a device. What is copied there is put in line: nobody waits.
at::Tensor on_device(std::vector<gpu_adam_tensor> const& list, at::Device device) {
  std::size_t const bytes = list.size() * sizeof(gpu_adam_tensor);
  at::Tensor const here = at::empty({static_cast<std::int64_t>(bytes)}, at::TensorOptions().dtype(at::kByte).pinned_memory(device.is_cuda()));
  std::memcpy(here.mutable_data_ptr(), list.data(), bytes);
  return here.to(device, /*non_blocking=*/true);
}

// All tensors in one launch on a GPU.
void launch_step(optimizer_settings const& settings, optimizer_state const& state, optimizer_step const& step) {
  auto const floats = [](at::Tensor const& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; };
  std::vector<gpu_adam_tensor> list;
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < step.theta.size(); ++i) {
    kept_moments const kept = moments_of(state, i);
    adam_numbers const numbers = numbers_of(settings, state.steps, step, i);
    std::int64_t const count = step.theta[i].numel();
    list.push_back({.theta = floats(step.theta[i]),
                    .gradient = floats(step.gradient[i]),
                    .first = kept.first.mutable_data_ptr(),
                    .second = kept.second.mutable_data_ptr(),
                    .first_scale = floats(kept.first_scale),
                    .second_scale = floats(kept.second_scale),
                    .copy = step.copies.empty() ? nullptr : static_cast<std::uint16_t*>(step.copies[i].mutable_data_ptr()),
                    .count = count,
                    .first_block = blocks,
                    .decay = numbers.decay,
                    .seed = numbers.seed});
    blocks += adam_blocks(count);
  }
  at::Device const device = step.theta.front().device();
  adam_numbers const all = numbers_of(settings, state.steps, step, 0);
  at::Tensor const listed = on_device(list, device);
  launch_mark const mark("kedge::adam", {listed});
  gpu_kernels(device)->adam(current_stream(device), {.tensors = static_cast<gpu_adam_tensor const*>(listed.const_data_ptr()),
                                                     .count = static_cast<std::int64_t>(list.size()),
                                                     .blocks = blocks,
                                                     .moments = format_of(state.parts[first].values.front()),
                                                     .rate = all.rate,
                                                     .root = all.root,
                                                     .beta1 = all.beta1,
                                                     .beta2 = all.beta2,
                                                     .epsilon = all.epsilon,
                                                     .scale = all.scale,
                                                     .norm = nullptr,
                                                     .most_norm = 0,
                                                     .zero_gradient = all.zero_gradient});
}

// One tensor in tensor operations.
void plain_step(moment_format const& format, kept_moments const& kept, at::Tensor theta, at::Tensor const& gradient, adam_numbers const& numbers) {
  at::Tensor m, v;
  format.read(kept, m, v);
  at::Tensor const g = gradient.to(m.scalar_type());
  m.add_(at::sub(g, m), 1 - numbers.beta1);
  v.mul_(numbers.beta2).addcmul_(g, g, 1 - numbers.beta2);
  theta.mul_(numbers.decay).addcdiv_(m, v.sqrt().mul_(numbers.root).add_(numbers.epsilon), -numbers.rate);
  format.write(kept, m, v, numbers.seed);
}

// Matrices, or vectors, by LibTorch's own loop.
void group_step(optimizer_settings const& s, optimizer_state const& state, optimizer_step const& step, pack const& gradient, bool matrices) {
  pack p, g, m, v;
  for (std::size_t i = 0; i < step.theta.size(); ++i) {
    if ((step.theta[i].dim() > 1) != matrices) continue;
    p.push_back(step.theta[i]);
    g.push_back(gradient[i]);
    m.push_back(state.parts[first].values[i]);
    v.push_back(state.parts[second].values[i]);
  }
  if (p.empty()) return;
  pack const count(p.size(), at::full({}, static_cast<double>(state.steps), p.front().options().dtype(at::kFloat)));
  at::_fused_adamw_(p, g, m, v, {}, count, step.learning_rate, s.beta1, s.beta2, matrices ? s.weight_decay : 0, s.epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
}

bool in_a_row(pack const& values) {
  return std::all_of(values.begin(), values.end(), [](at::Tensor const& t) { return t.is_contiguous(); });
}

}  // namespace

optimizer_state init_adamw(moment_format const& format, pack const& theta) {
  optimizer_state state{{{"first-moment", {}}, {"second-moment", {}}}};
  if (format.scaled) state.parts.insert(state.parts.end(), {{"first-scale", {}, false}, {"second-scale", {}, false}});
  for (at::Tensor const& t : theta)
    for (optimizer_part& part : state.parts)
      part.values.push_back(part.by_elements ? at::zeros(t.sizes(), t.options().dtype(format.type.value_or(t.scalar_type())))
                                         : at::zeros({adam_blocks(t.numel())}, t.options().dtype(at::kFloat)));
  return state;
}

void update_adamw(moment_format const& format, optimizer_settings const& settings, optimizer_state& state, optimizer_step const& step) {
  at::NoGradGuard const no_grad;
  auto const each = [&](auto const& take) {
    for (std::size_t i = 0; i < step.theta.size(); ++i) {
      state.expect(i + 1);
      take(i, moments_of(state, i), numbers_of(settings, state.steps, step, i));
      state.leave(i);
    }
  };
  if (one_pass(step) && goes_gpu_way(step.theta.front().device())) return launch_step(settings, state, step);
  if (one_pass(step)) {
    each([&](std::size_t i, kept_moments const& kept, adam_numbers const& numbers) { pass_over(format, kept, step, i, numbers); });
    return;
  }
  by_tensor_operations(step, [&](pack const& gradient) {
    if (!format.type && in_a_row(step.theta) && in_a_row(step.gradient)) {
      for (bool const matrices : {true, false}) group_step(settings, state, step, gradient, matrices);
      return;
    }
    each([&](std::size_t i, kept_moments const& kept, adam_numbers const& numbers) { plain_step(format, kept, step.theta[i], gradient[i], numbers); });
  });
}

at::Tensor random_of(at::Tensor const& like, std::uint32_t seed) {
  constexpr std::int64_t low_bits = 0xffff'ffff;
  at::Tensor x = at::arange(like.numel(), like.options().dtype(at::kLong)).bitwise_xor_(std::int64_t{seed});
  auto const fold = [&](std::int64_t shift) { x.bitwise_xor_(x.bitwise_right_shift(shift)); };
  fold(16);
  x.mul_(std::int64_t{mixing}).bitwise_and_(low_bits);
  fold(15);
  x.mul_(std::int64_t{mixing}).bitwise_and_(low_bits);
  fold(16);
  return x.view_as(like);
}

}  // namespace kedge::llm
