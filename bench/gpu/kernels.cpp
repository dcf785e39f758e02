// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernel_checks.hpp"

namespace kedge::gpu_check {
namespace {

// By how much of what is allowed a tensor differs.
double excess(at::Tensor const& got, at::Tensor const& host, kernel_case const& c) {
  if (host.numel() == 0) return 0;
  if (!host.is_floating_point()) return (got.ne(host).to(at::kDouble).mean() / c.differing).item<double>();
  // What a part of an attention is relative to is −∞ where it sees no key, on both.
  at::Tensor const same = at::eq(got, host), exact = host.to(at::kDouble).masked_fill(at::logical_and(same, at::isinf(host)), 0);
  at::Tensor const off = (got.to(at::kDouble) - exact).abs().masked_fill(same, 0);
  double const largest = exact.abs().max().item<double>(), step = host.scalar_type() == at::kBFloat16 ? 0x1p-7 : 0;
  double const worst = (off / (exact.abs() * step + (largest * c.allowed + 1e-30))).max().item<double>();
  return std::isfinite(worst) ? worst : INFINITY;
}

tensors copies(tensors const& given, at::Device device) {
  tensors all;
  for (at::Tensor const& t : given) all.push_back(t.to(device, t.scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  return all;
}

bool check(kernel_case const& c, at::Device device, llm::gpu_kernel_table const& table) {
  tensors host = copies(c.given, at::kCPU), there = copies(c.given, device);
  c.launch(llm::host_gpu_kernels(), nullptr, host);
  c.launch(table, llm::current_stream(device), there);
  wait_for(device);
  double worst = 0;
  for (std::size_t i = 0; i < host.size(); ++i) worst = std::max(worst, excess(there[i].to(at::kCPU), host[i], c));
  double const seconds = seconds_of(device, device.is_cuda() ? 20 : 1, [&] { c.launch(table, llm::current_stream(device), there); });
  return say({{"kernel", c.kernel},
              {"size", c.size},
              {"of what is allowed", worst},
              {"µs", 1e6 * seconds},
              {"GB/s", c.bytes / seconds / 1e9},
              {"holds", worst <= 1}});
}

}  // namespace

at::Tensor random_numbers(std::vector<std::int64_t> const& shape, at::ScalarType type) { return at::randn(shape).to(type); }

double bytes_of(std::initializer_list<at::Tensor> all) {
  double bytes = 0;
  for (at::Tensor const& t : all) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

bool kernels(at::Device device, bool real) {
  llm::gpu_kernel_table const* const table = device.is_cpu() ? &llm::host_gpu_kernels() : llm::gpu_kernels(device);
  if (!table)
    return say({{"kernel", "none"}, {"size", "the kernels of this device aren't loaded: LibTorch's operations are used"}, {"holds", false}});
  at::manual_seed(5);
  bool all = true;
  for (case_sizes const sizes : {case_sizes::odd, case_sizes::real}) {
    if (sizes == case_sizes::real && !real) continue;
    for (auto const cases : {training_cases, optimizer_cases, generation_cases})
      for (kernel_case const& c : cases(sizes)) all &= check(c, device, *table);
  }
  return all;
}

}  // namespace kedge::gpu_check
