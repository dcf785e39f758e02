// SPDX-License-Identifier: Apache-2.0
#include "../../adapters/llm/src/kernels/adam.hpp"
#include "kernel_checks.hpp"

namespace kedge::gpu_check {
namespace {

using llm::gpu_adam_tensor, llm::gpu_kernel_table, llm::gpu_moments, llm::gpu_stream;

constexpr std::size_t tensors_each = 7;  // θ, gradient, moments, their scales, copy

at::Tensor moments_of(std::int64_t count, gpu_moments kind, bool second) {
  at::Tensor const x = second ? at::rand({count}) * 1e-4 : at::randn({count}) * 1e-2;
  if (kind == gpu_moments::fp32) return x;
  return kind == gpu_moments::bf16 ? x.to(at::kBFloat16) : at::randint(256, {count}, at::kByte);
}

tensors of_counts(std::vector<std::int64_t> const& counts, gpu_moments kind) {
  tensors all;
  for (std::int64_t const n : counts)
    for (at::Tensor const& t : {random_numbers({n}), random_numbers({n}) * 1e-2, moments_of(n, kind, false), moments_of(n, kind, true),
                                at::rand({llm::adam_blocks(n)}) * 1e-2 + 1e-4, at::rand({llm::adam_blocks(n)}) * 1e-2 + 1e-4, at::zeros({n}, at::kBFloat16)})
      all.push_back(t);
  return all;
}

// The list that the kernels read, where their tensors are. It may go when the launch is in line: memory is handed out in the order of the line.
at::Tensor listed(tensors const& x, std::size_t count) {
  std::vector<gpu_adam_tensor> list;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto const* const t = &x[i * tensors_each];
    list.push_back({t[0].mutable_data_ptr<float>(), t[1].mutable_data_ptr<float>(), t[2].data_ptr(), t[3].data_ptr(), t[4].mutable_data_ptr<float>(),
                    t[5].mutable_data_ptr<float>(), static_cast<std::uint16_t*>(t[6].data_ptr()), t[0].numel(), first, 0.999F,
                    static_cast<std::uint32_t>(17 + i)});
    first += llm::adam_blocks(t[0].numel());
  }
  return bytes(std::span<gpu_adam_tensor const>(list)).to(x[0].device());
}

std::int64_t blocks_of(tensors const& x, std::size_t count) {
  std::int64_t blocks = 0;
  for (std::size_t i = 0; i < count; ++i) blocks += llm::adam_blocks(x[i * tensors_each].numel());
  return blocks;
}

std::string numbers_in(std::vector<std::int64_t> const& counts) {
  std::string text;
  for (std::int64_t const n : counts) text += (text.empty() ? "" : " + ") + std::to_string(n);
  return text;
}

kernel_case adam(std::vector<std::int64_t> const& counts, gpu_moments kind) {
  tensors t = of_counts(counts, kind);
  std::size_t const n = counts.size();
  t.push_back(at::full({1}, 3.0, at::kDouble));
  double moved = 0;
  for (std::size_t i = 0; i < n; ++i)
    moved += bytes_of({t[7 * i], t[7 * i], t[7 * i + 1], t[7 * i + 1], t[7 * i + 2], t[7 * i + 2], t[7 * i + 3], t[7 * i + 3], t[7 * i + 6]});
  char const* const name = kind == gpu_moments::fp32 ? "adam" : kind == gpu_moments::bf16 ? "adam, bf16 moments" : "adam, 8-bit moments";
  return {name, numbers_in(counts), t, moved, [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            at::Tensor const list = listed(x, n);
            k.adam(s, {.tensors = static_cast<gpu_adam_tensor const*>(list.const_data_ptr()),
                       .count = static_cast<std::int64_t>(n),
                       .blocks = blocks_of(x, n),
                       .moments = kind,
                       .rate = 1e-3F,
                       .root = 1.1F,
                       .beta1 = 0.9F,
                       .beta2 = 0.999F,
                       .epsilon = 1e-8F,
                       .scale = 0.5F,
                       .norm = x.back().const_data_ptr<double>(),
                       .most_norm = 1,
                       .zero_gradient = true});
          }};
}

kernel_case square_sum(std::vector<std::int64_t> const& counts) {
  tensors t = of_counts(counts, gpu_moments::fp32);
  std::size_t const n = counts.size();
  t.push_back(at::zeros({llm::square_sum_partials(blocks_of(t, n))}, at::kDouble));
  t.push_back(at::zeros({1}, at::kDouble));
  double moved = 0;
  for (std::size_t i = 0; i < n; ++i) moved += bytes_of({t[7 * i + 1]});
  return {"square_sum", numbers_in(counts), t, moved, [=](gpu_kernel_table const& k, gpu_stream s, tensors& x) {
            at::Tensor const list = listed(x, n);
            k.square_sum(s, {.tensors = static_cast<gpu_adam_tensor const*>(list.const_data_ptr()),
                             .count = static_cast<std::int64_t>(n),
                             .blocks = blocks_of(x, n),
                             .partial = x[x.size() - 2].mutable_data_ptr<double>(),
                             .out = x.back().mutable_data_ptr<double>()});
          }};
}

}  // namespace

std::vector<kernel_case> optimizer_cases(case_sizes sizes) {
  bool const real = sizes == case_sizes::real;
  std::vector<std::int64_t> const counts =
      real ? std::vector<std::int64_t>{std::int64_t{1} << 25, 2048, std::int64_t{1} << 23} : std::vector<std::int64_t>{1, 1000, 257, 4096, 70001};
  std::vector<kernel_case> all{square_sum(counts)};
  for (gpu_moments const kind : {gpu_moments::fp32, gpu_moments::bf16, gpu_moments::bits8}) all.push_back(adam(counts, kind));
  return all;
}

}  // namespace kedge::gpu_check
